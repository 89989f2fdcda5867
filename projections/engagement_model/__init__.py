"""The engagement model in force, for whoever computes with scores or wants to know what they are made of."""
