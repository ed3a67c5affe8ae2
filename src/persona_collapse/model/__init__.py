"""The base model's weights, chains merged into them, and the numerics that make both the same everywhere."""
