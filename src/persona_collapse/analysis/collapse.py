"""How far each condition keeps the marker to the source, in log-odds: `collapse.json`."""
