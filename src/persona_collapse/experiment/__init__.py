"""The nouns of the experiment: chains, parameters, personas, the marker, where files lie, what they hold, and the one
error that users see. Imports nothing of the other packages, and no torch."""
