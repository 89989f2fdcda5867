"""How often we write to each person, and how long ago they last acted."""
