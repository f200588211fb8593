"""Is a state whole: its files, its ring, its snapshots, and what it lives in."""
