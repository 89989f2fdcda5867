"""What breaks the rules as of a moment: each finding with the events that prove it, the gravest kind first.

A finding holds as of T: what was found then is found again when T is asked about later, whatever was put right since,
and it is gone as of the moment at which it was. A contact that was made stays one. Which kinds rest on what:

- *Contacts and opens* are judged by the standing that held when they happened (`gdpr_audit`). A contact after an
  opt-out is one from the first second on; the hours of the policy are no grace.
- *opt_out_honoured_late*: an opt-out is honoured when the ledger takes it, for from then on nothing goes out. It is
  late when that was more than the policy's hours after the person said it, and after we first held anything of the
  person: what they told another system before, and came with an import, could not be honoured here.
- *notice_overdue*: whose data came from somebody else is told within the policy's months, and by the first message at
  the latest. A notice under Art. 13 or 14 ends it, whenever it was given.
- *retention_due*: the policy's months after the last act of the person, or after what was first known of them. No open
  is an act, nothing that a machine did, and no word against contact. When the last word on every application of the
  person is a rejection (one that names no job is one for every job before it; an application that names none ends with
  any), they have not acted since and have given no consent to `recruiting`, the time for the rejected runs from the
  rejection. While processing is restricted nothing is due (Art. 18(1)(c)).
- *basis_missing*: no basis was ever recorded, and no consent given, but for `open_tracking`; facts of people nobody
  sourced are found by this.
- *basis_ended*: there was one, and what is left is consent that was withdrawn, has expired or was never given; for the
  last there is as long as for the notice. Whoever opted out of all channels, or whose data is restricted, is kept for
  that.
- *recipients_not_told*: a restriction, or a request for rectification or erasure that was fulfilled, and no
  `recipient_notified` about it. Who received data is not known here; where nobody did, the recipient is `none`.

Months end with the day of the same number, in UTC (Regulation 1182/71, Art. 3). An event that waits behind a broken one
counts: no violation must wait.
"""
