"""Providers' deliveries as their documentation shows them, about invented people, signed with keys made here."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from consumers.webhooks import sendgrid
from consumers.webhooks.delivery import Delivery

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ADA = "ada@example.com"

# ── SendGrid ──


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sendgrid_secret(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """The public key as SendGrid shows it."""
    public = (key or sendgrid_key()).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b64encode(der).decode()


def of_sendgrid(
    events: Any, at: datetime = NOW, key: ec.EllipticCurvePrivateKey | None = None, received_at: datetime | None = None
) -> Delivery:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    timestamp = str(int(at.timestamp()))
    signature = (key or sendgrid_key()).sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {sendgrid.SIGNATURE: b64encode(signature).decode(), sendgrid.TIMESTAMP: timestamp}
    return Delivery(headers | {"content-type": "application/json"}, body, received_at or at)


def sendgrid_event(
    event: str = "delivered", id_: str = "ZGVsaXZlcmVk", email: str = ADA, **more: Any
) -> dict[str, Any]:
    return {
        "email": email,
        "timestamp": int(NOW.timestamp()),
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": event,
        "category": ["spring outreach"],
        "sg_event_id": id_,
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    } | more


# ── Postmark ──

POSTMARK_SECRET = "rapport:a-long-password"  # noqa: S105 - of nobody


def of_postmark(body: Any, secret: str = POSTMARK_SECRET, at: datetime = NOW, *, in_path: bool = False) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if in_path:
        return Delivery({}, raw, at, secret)
    return Delivery({"authorization": "Basic " + b64encode(secret.encode()).decode()}, raw, at)


def postmark_event(record_type: str = "Delivery", **more: Any) -> dict[str, Any]:
    when = {"Delivery": "DeliveredAt", "Bounce": "BouncedAt", "SpamComplaint": "BouncedAt"}
    own = {
        "Bounce": {"ID": 42, "Type": "HardBounce", "TypeCode": 1, "Email": ADA, "Inactive": True},
        "SpamComplaint": {"ID": 43, "Type": "SpamComplaint", "TypeCode": 512, "Email": ADA},
        "Open": {"FirstOpen": True, "UserAgent": "Mozilla/5.0", "ReceivedAt": "2026-03-01T09:30:00.9070259Z"},
        "Click": {"OriginalLink": "https://example.org/jobs", "ReceivedAt": "2026-03-01T09:30:00Z"},
        "SubscriptionChange": {
            "ChangedAt": "2026-03-01T09:30:00Z",
            "Origin": "Recipient",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
        },
    }.get(record_type, {})
    return (
        {
            "RecordType": record_type,
            "MessageStream": "outbound",
            "ServerID": 23,
            "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
            "Recipient": ADA,
            "Tag": "welcome-email",
            when.get(record_type, "IgnoredAt"): "2026-03-01T09:30:00.9070259Z",
        }
        | own
        | more
    )


# ── Mailgun ──

MAILGUN_SECRET = "a-signing-key-of-mailgun"  # noqa: S105 - of nobody


def of_mailgun(
    event: Any,
    at: datetime = NOW,
    token: str = "t" * 50,
    secret: str = MAILGUN_SECRET,
    received_at: datetime | None = None,
) -> Delivery:
    timestamp = str(int(at.timestamp()))
    signature = hmac.new(secret.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
    body = {"signature": {"timestamp": timestamp, "token": token, "signature": signature}, "event-data": event}
    return Delivery({"content-type": "application/json"}, json.dumps(body).encode(), received_at or at)


def mailgun_event(event: str = "delivered", id_: str = "CPgfbmQMTCKtHW6uIWtuVe", **more: Any) -> dict[str, Any]:
    return {
        "event": event,
        "id": id_,
        "timestamp": NOW.timestamp() + 0.25,
        "log-level": "info",
        "recipient": ADA,
        "tags": ["spring"],
        "campaigns": [],
        "message": {"headers": {"message-id": "20260301093000.1.ABC@mail.example.org", "to": ADA}},
    } | more


# ── Amazon SES through SNS ──

TOPIC = "arn:aws:sns:eu-west-1:123456789012:rapport-mail"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-" + "a1" * 16 + ".pem"


@cache
def sns_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def sns_certificate(until: datetime = NOW + timedelta(days=3_650)) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder(name, name, sns_key().public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(until)
        .sign(sns_key(), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def of_ses(event: Any, at: datetime = NOW, version: str = "1", **outer: Any) -> Delivery:
    message = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": event if isinstance(event, str) else json.dumps(event),
        "Timestamp": "2026-03-01T09:30:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    } | outer
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if message["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names if message.get(name) is not None)
    digest = {"1": hashes.SHA1, "2": hashes.SHA256}[version]()
    signature = sns_key().sign(text.encode(), padding.PKCS1v15(), digest)
    body = json.dumps(message | {"Signature": b64encode(signature).decode()}).encode()
    return Delivery({"x-amz-sns-message-type": message["Type"], "content-type": "text/plain"}, body, at)


def ses_event(kind: str = "Delivery", recipients: tuple[str, ...] = (ADA,), **part: Any) -> dict[str, Any]:
    at = {"timestamp": "2026-03-01T09:30:00.669Z"}
    own: dict[str, Any] = {
        "Delivery": {"recipients": list(recipients), "processingTimeMillis": 546},
        "Bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": r, "status": "5.1.1", "action": "failed"} for r in recipients],
        },
        "Complaint": {
            "complainedRecipients": [{"emailAddress": r} for r in recipients],
            "complaintFeedbackType": "abuse",
        },
        "Click": {"link": "https://example.org/jobs", "ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0"},
        "Open": {"ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0"},
        "Subscription": {
            "contactList": "candidates",
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
            "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
        },
    }.get(kind, {})
    mail = {
        "timestamp": "2026-03-01T09:29:00.000Z",
        "messageId": "7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
        "destination": list(recipients),
        "tags": {"campaign": ["spring"]},
    }
    return {"eventType": kind, "mail": mail, kind.lower(): at | own | part}


def later(delivery: Delivery, by: timedelta) -> Delivery:
    """The same bytes, received later."""
    return replace(delivery, received_at=delivery.received_at + by)
