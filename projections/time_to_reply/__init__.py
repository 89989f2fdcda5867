"""How long the people of each source and month took to reply."""
