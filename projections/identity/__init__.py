"""Which record stands for the person, by the merges in force; `domain.identity.Forest` in SQL."""
