"""What providers send: verified, then read as interactions. A module a provider."""
