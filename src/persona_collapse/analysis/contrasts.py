"""Differences between conditions, with seeds as the units: `contrasts.json`."""
