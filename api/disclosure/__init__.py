"""Everything that is held about one person, for that person: Art. 15 (access) and Art. 20 (portability) GDPR."""
