"""How far the people of each source and month came."""
