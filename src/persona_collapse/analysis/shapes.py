"""What answers look like, by condition, seed and group: `shapes.json`."""
