"""What a board wants, and what its oldest runtime can load."""
