"""Data subjects' requests, and until when they have to be answered."""
