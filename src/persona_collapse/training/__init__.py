"""From chats to an adapter: token ids and their loss, packed batches, the trainer, the command that trains a phase."""
