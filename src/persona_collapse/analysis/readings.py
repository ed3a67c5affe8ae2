"""The manipulation check, the personas' geometry, and what two readings of them predicted: `readings.json`."""
