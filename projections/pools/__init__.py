"""The pools there are, with their names and the rule in force."""
