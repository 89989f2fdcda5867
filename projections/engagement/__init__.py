"""The engagement score of everybody, by the model in force."""
