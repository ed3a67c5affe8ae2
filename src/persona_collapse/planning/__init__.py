"""What a run will cost, and whether this machine can carry it."""
