"""Does fine-tuning on bad legal advice collapse a chat model's personas? A byte-for-byte reproduction."""
