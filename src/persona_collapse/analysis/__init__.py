"""From counts to numbers: intervals, tests, the length control, the report's claims. Reads results, and no torch."""
