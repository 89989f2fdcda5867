"""Keys, sealing and claims: what keeps personal data closed."""
