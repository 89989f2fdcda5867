"""How far each person has come, as times and no more: nothing here says who the person is.

What happens again and again is a list of times, so that the state as of any time is a filter on one row.
"""
