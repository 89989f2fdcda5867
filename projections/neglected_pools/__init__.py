"""When the people of each pool were last written to."""
