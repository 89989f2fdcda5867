"""What a person has to be told in plain words (Art. 12(1), 15(1)(e), (f) and (h) GDPR; Art. 86 AI Act)."""

from api.disclosure.document import Right

RIGHTS = (
    Right(
        article="Art. 15 GDPR", right="You may ask what is held about you, and for a copy, as often as is reasonable."
    ),
    Right(article="Art. 16 GDPR", right="You may have what is wrong corrected, and what is missing added."),
    Right(article="Art. 17 GDPR", right="You may ask that everything about you be erased."),
    Right(
        article="Art. 18 GDPR",
        right="You may ask that data be stored and not used while it is looked into whether it is right.",
    ),
    Right(article="Art. 19 GDPR", right="You may ask who was told of a correction, erasure or restriction."),
    Right(
        article="Art. 20 GDPR",
        right="You may have what you provided in a form that a computer can read, and give it to somebody else.",
    ),
    Right(
        article="Art. 21 GDPR",
        right="You may object to the use of your data where it rests on a legitimate interest, and at any time, "
        "without a reason, to being contacted.",
    ),
    Right(
        article="Art. 7(3) GDPR",
        right="You may take back a consent at any time; what was done before stays lawful.",
    ),
    Right(
        article="Art. 22 GDPR, Art. 86 AI Act",
        right="You may not be subjected to a decision that rests on automated processing alone and affects you "
        "significantly, and may ask how a system with a say in a decision about you came to what it said.",
    ),
    Right(article="Art. 77 GDPR", right="You may complain to a supervisory authority, such as that of where you live."),
)
"""In the order in which the page shows them."""

SCORE = (
    "Each event of a kind that counts adds its points. Points fade: half of them are left after {half_life_days:g} "
    "days, a quarter after twice that, and so on. What is left adds up to the raw score; the score shown is "
    "100 * (1 - e^(-raw / {saturation_points:g})), and 0 where that is below. Of opens and clicks those by people "
    "count, once a message and once a link; one within {machine_within_s:g} seconds of sending was a machine's. Opens "
    "count only while open tracking has a basis."
)
"""How a score is made, with room for the figures of a model."""

CONSEQUENCES = (
    "The score ranks people by how much they have had to do with us lately, and may be a condition of a pool, a list "
    "of people for a purpose. Rapport decides nothing by it: it sends no message, and neither invites nor rejects "
    "anybody."
)
"""What a score is good for."""
