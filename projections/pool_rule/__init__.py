"""The rules of the pools over time, a row a condition: `domain/rule.py` says what each condition means.

A rule is a row that meets facts as rows; none becomes SQL text.
"""
