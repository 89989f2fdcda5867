"""Who came back after half a year of silence."""
