"""The limits that analytics views judge by, as one row: change one here and every view that uses it follows."""
