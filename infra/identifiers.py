"""Identifiers in the one form in which they are compared, so that a person is found however they are written.

Emails by `email-validator` (RFC 5321/6531 syntax, IDNA domain), folded to lower case: mail systems that tell
`Ada@` from `ada@` are gone, two records for one person are not. Phones to E.164 by `phonenumbers`. Profile
links without scheme, `www.`, query and trailing slash.
"""

from functools import lru_cache
from urllib.parse import urlsplit

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from domain.errors import InvalidInteraction
from domain.interaction import Reference


def identifiers_of(reference: Reference) -> tuple[str, ...]:
    """The normalised identifiers of `reference`, the id aside, strongest first.

    Raises InvalidInteraction naming the field that is not one.
    """
    found = []
    if reference.email is not None:
        found.append("email:" + _email(reference.email))
    if reference.phone is not None:
        found.append("phone:" + _phone(reference.phone))
    if reference.profile is not None:
        found.append("profile:" + _profile(reference.profile))
    if reference.ref is not None:
        system, _, key = reference.ref.partition(":")
        found.append(f"ref:{system.lower()}:{key.strip()}")
    return tuple(found)


@lru_cache(maxsize=65_536)
def _email(text: str) -> str:
    try:
        checked = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidInteraction(f"candidate.email: not an email address: {_without_quotes(str(error))}") from None
    return checked.normalized.lower()


def _without_quotes(message: str) -> str:
    """The reason as the library words it, as long as it repeats nothing of the address."""
    return "its form is wrong" if any(c in message for c in "'\"@:") else message.rstrip(".").lower()


def _phone(text: str) -> str:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise InvalidInteraction(
            "candidate.phone: not an international number; write it with its country code, such as +44 20 7946 0000"
        ) from None
    if not phonenumbers.is_possible_number(number):
        raise InvalidInteraction("candidate.phone: no number has this length in its country")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _profile(text: str) -> str:
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        host = ""
    if "." not in host:
        raise InvalidInteraction("candidate.profile: not a link; write it as https://host/path")
    return f"{host}{parts.path.rstrip('/')}".lower()
