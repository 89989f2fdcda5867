"""Who was in which pool when, as intervals. Rules are rows that meet facts as rows; no rule becomes SQL text.

What a condition means is said in `domain/rule.py`. Conditions on the time since the latest act, and on the score, begin
and end without an event: an interval may begin or end at a date ahead, for as long as nothing else happens.
"""
