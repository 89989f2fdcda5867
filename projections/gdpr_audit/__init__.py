"""Standing per person, purpose and channel, as intervals with the event that decides; `domain.consent` in SQL.

Channel `*` is any channel the person's statements do not name, purpose `*` any purpose they do not name.
"""
