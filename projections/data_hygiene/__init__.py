"""What is missing, old or wrong in what is known of each person."""
