"""What is known of a person, as intervals of time: the facts that pool rules ask about.

`attribute` is tag, source, location, seniority, role_family, skill, attended, stage or exists; `value` is lower case,
trimmed. The intervals of one person, attribute and value never overlap.
"""
