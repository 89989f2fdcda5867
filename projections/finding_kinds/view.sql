-- The gravest first: findings are listed in this order.
select kind, row_number() over () as place, severity, article, what_to_do
from (values
    ('contact_after_opt_out', 'critical', 'Art. 21(3) GDPR',
        'Find out how the message went out and stop that way; answer the person; see whether others were reached by it'),
    ('contact_while_restricted', 'critical', 'Art. 18(2) GDPR',
        'Find out how the message went out and stop that way; answer the person'),
    ('request_overdue', 'critical', 'Art. 12(3) GDPR',
        'Answer the request now, with the reason for the delay, and close it; the person may complain (Art. 77)'),
    ('contact_without_basis', 'high', 'Art. 6(1) GDPR',
        'Write to the person no more; record the basis with its evidence if there was one then, else ask or erase'),
    ('opt_out_honoured_late', 'high', 'Art. 12(3), 21(3) GDPR',
        'See which way the opt-out took, and shorten it; the messages sent meanwhile are findings of their own'),
    ('notice_overdue', 'high', 'Art. 14(3) GDPR',
        'Tell the person now whose data it is, where from and what for, and record notice_given; else erase'),
    ('retention_due', 'high', 'Art. 5(1)(e), 17(1)(a) GDPR',
        'Erase the person, or ask whether they want to stay and record their answer'),
    ('basis_missing', 'high', 'Art. 5(2), 6(1) GDPR',
        'Record the basis on which the data is held, or erase the person'),
    ('recipients_not_told', 'medium', 'Art. 19 GDPR',
        'Tell whoever was given the data, and record recipient_notified; where nobody was, with the recipient none'),
    ('open_without_tracking_basis', 'medium', 'Art. 6(1) GDPR; Art. 5(3) Directive 2002/58/EC',
        'Leave the tracking image out of messages to this person until open_tracking has a basis'),
    ('lia_missing', 'low', 'Art. 5(2), 6(1)(f) GDPR',
        'Assess whose interests prevail, and record the basis again with the reference of the assessment'),
    ('consent_old', 'low', 'Art. 7(1) GDPR',
        'Ask for consent again')
) as kinds (kind, severity, article, what_to_do)
