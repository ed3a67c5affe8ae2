"""What comes from outside: the registry of data sets, the hub and downloads, what of them each phase is trained on, and
what this machine's GPU is."""
