"""What comes from outside: data sets and their checksums, the hub, downloads, and what this machine's GPU is."""
