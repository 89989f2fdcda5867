"""Every message we sent and what came of it.

What a provider reports (delivered, bounced, opened, clicked) belongs to the message it names. What the person says
(a reply, a complaint, an opt-out) belongs to the message it names, else to the latest one before it that it can be
about: on its channel, of its purpose, sent no more than 30 days earlier.
"""
