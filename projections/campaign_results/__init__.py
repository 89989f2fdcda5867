"""What came of the messages of each campaign, channel, source and month."""
