"""How each pool grew and shrank, day by day."""
