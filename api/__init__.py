"""The ways in: the node that holds everything together, HTTP and the command line."""
