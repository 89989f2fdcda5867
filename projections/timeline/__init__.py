"""A person's events for people to read; a query, nothing is stored."""
