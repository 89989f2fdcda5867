"""What kinds of findings there are: how grave each is, on which articles it rests, what to do about it."""
