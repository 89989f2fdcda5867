"""Who is in which pool."""
