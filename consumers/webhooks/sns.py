"""Messages of Amazon SNS over HTTP (docs.aws.amazon.com/sns/latest/dg: sns-verify-signature-of-message,
sns-message-and-json-formats).

SNS signs chosen fields with RSA, and names in the message where its certificate is. Whatever that address is, only one
that is Amazon's by its whole form, in the region of the topic, is ever asked.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from consumers.webhooks import payload
from consumers.webhooks.delivery import Delivery, Refused, Unreadable

Certificates = Callable[[str], bytes]
"""The certificate in PEM form at an address. Raises OperationalError when it cannot be had: SNS sends again what is
answered by a 5xx, and never what is refused (sns-message-delivery-retries)."""

TOPIC = re.compile(r"arn:aws(?:-cn|-us-gov)?:sns:([a-z]{2}(?:-[a-z]+)+-\d{1,2}):\d{12}:[\w-]{1,256}(?:\.fifo)?")
CERTIFICATE_AT = re.compile(
    r"https://sns\.([a-z]{2}(?:-[a-z]+)+-\d{1,2})\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[0-9a-f]{32}\.pem"
)
NOTIFICATION = "Notification"
CONFIRMATIONS = {"SubscriptionConfirmation", "UnsubscribeConfirmation"}
_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_TO_CONFIRM = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}


def check(delivery: Delivery, topics: Sequence[str], now: datetime, certificates: Certificates) -> None:
    """Returns when one of these topics sent the delivery. Raises Refused, or OperationalError."""
    try:
        message = payload.document(delivery.body)
    except Unreadable as error:
        raise Refused("malformed", str(error)) from None
    if delivery.headers.get("x-amz-sns-rawdelivery") == "true" or "Signature" not in message:
        raise Refused("malformed", "SNS signs nothing with raw message delivery on; turn it off for this subscription")
    topic, address = message.get("TopicArn"), message.get("SigningCertURL")
    if topic not in topics or (region := TOPIC.fullmatch(str(topic))) is None:
        raise Refused("signature", "it is of a topic that is not taken here")
    if message.get("Type") not in CONFIRMATIONS | {NOTIFICATION} or message.get("SignatureVersion") not in _HASHES:
        raise Refused("malformed", "its type or signature version is none that SNS documents")
    place = CERTIFICATE_AT.fullmatch(address) if isinstance(address, str) else None
    if place is None or not isinstance(address, str) or place[1] != region[1]:
        raise Refused("signature", "its certificate does not lie where Amazon SNS has those of the topic's region")
    try:
        _key(certificates(address), now).verify(
            b64decode(message["Signature"], validate=True),
            _signed(message),
            padding.PKCS1v15(),
            _HASHES[message["SignatureVersion"]](),
        )
    except (InvalidSignature, ValueError, TypeError):
        raise Refused("signature", "it is not signed by Amazon SNS") from None


def _signed(message: dict[str, Any]) -> bytes:
    names = _SIGNED if message["Type"] == NOTIFICATION else _SIGNED_TO_CONFIRM
    lines = []
    for name in names:
        value = message.get(name)
        if value is None and name == "Subject":
            continue
        if not isinstance(value, str):
            raise TypeError(name)
        lines.append(f"{name}\n{value}\n")
    return "".join(lines).encode()


def _key(pem: bytes, now: datetime) -> rsa.RSAPublicKey:
    """Raises ValueError when it is no certificate of an RSA key, or not of today."""
    certificate = x509.load_pem_x509_certificate(pem)
    if not certificate.not_valid_before_utc <= now.astimezone(UTC) <= certificate.not_valid_after_utc:
        raise ValueError("a certificate of another time")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("no RSA key")
    return key
