"""What a board is, how it is, and what can run on it: see `examination`."""
