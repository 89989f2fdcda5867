"""Signatures that none of our code made: published ones, of the providers or of their libraries.

Everywhere else tests sign what they send, and so could misread a provider's documentation as what they test does.
Bytes and signatures alone are taken over, from where it says. Of Greenhouse, Lever and Ashby none was found.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import orjson
import pytest

from consumers.webhooks import mailgun, resend, sendgrid, ses, standard
from consumers.webhooks.delivery import Delivery, Provider
from tests.unit.promises import refused

AMAZON = """-----BEGIN CERTIFICATE-----
MIIFxTCCBK2gAwIBAgIQBkyRNHAyygLkObkxH5ju+zANBgkqhkiG9w0BAQsFADA8MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRwwGgYDVQQDExNBbWF6
b24gUlNBIDIwNDggTTAxMB4XDTI1MTExMDAwMDAwMFoXDTI2MTAxNDIzNTk1OVowHDEaMBgGA1UEAxMRc25zLmFtYXpvbmF3cy5jb20wggEiMA0GCSqGSIb3DQEB
AQUAA4IBDwAwggEKAoIBAQChbVNQ+DEaT5WN+l+bg0iEeF666Z6LDFc1KJr4lNl0odcXQSskKsZYCMVdp4I/Ikk9zWyckRTMkmQGYimpD+bTsMCP5C/sJIU0E9Y2
OXjjl5VidekqqnRL9VdE5N41Rvks7S/5MpYcSmCsmaHfwcv82Gvx2zm9CrA5Xu7K2ZqhzRQPCRSPmHTHQr4ED63ujE+qTpPgQZ0TvgmcrAc08Z75Z7Zzs17aTNc3
YhAtQx9WowN8uiHkkgc+ONNdtwKvWZNmnbmxMHYtYc291WCP1K1Nh4TV5XNyjIebzQKDrqTCN0ItAr1xe6Bl3BYS3SG9XHAy0q3ekITzQsKypcuaK6dTAgMBAAGj
ggLhMIIC3TAfBgNVHSMEGDAWgBSBuA5jiokSGOX6OztQlZ/m5ZAThTAdBgNVHQ4EFgQUBQEUzzzuVJAKzAlRd0Q//W6HvZUwHAYDVR0RBBUwE4IRc25zLmFtYXpv
bmF3cy5jb20wEwYDVR0gBAwwCjAIBgZngQwBAgEwDgYDVR0PAQH/BAQDAgWgMBMGA1UdJQQMMAoGCCsGAQUFBwMBMDsGA1UdHwQ0MDIwMKAuoCyGKmh0dHA6Ly9j
cmwucjJtMDEuYW1hem9udHJ1c3QuY29tL3IybTAxLmNybDB1BggrBgEFBQcBAQRpMGcwLQYIKwYBBQUHMAGGIWh0dHA6Ly9vY3NwLnIybTAxLmFtYXpvbnRydXN0
LmNvbTA2BggrBgEFBQcwAoYqaHR0cDovL2NydC5yMm0wMS5hbWF6b250cnVzdC5jb20vcjJtMDEuY2VyMAwGA1UdEwEB/wQCMAAwggF/BgorBgEEAdZ5AgQCBIIB
bwSCAWsBaQB3ANdtfRDRp/V3wsfpX9cAv/mCyTNaZeHQswFzF8DIxWl3AAABmnAb33MAAAQDAEgwRgIhANXAgMEZWU326cqxqwnfntD0XcBjRbmvVMOp3hZ8boPX
AiEAkI3NTMXcdLCChHak1ipOae7K7r3spMGUMk6QcEUKqBEAdgDCMX5XRRmjRe5/ON6ykEHrx8IhWiK/f9W1rXaa2Q5SzQAAAZpwG9+uAAAEAwBHMEUCIQD+Qyok
8NYaFuQkccW+XIMmxHxj6Yka2wjtg6UN/tbU5wIgcp4z8MyC/dUfeLRuHAt0owtVgEu7xXqrMBOYlbXrfC4AdgDLOPcViXyEoURfW8Hd+8lu8ppZzUcKaQWFsMsU
wxRY5wAAAZpwG9+yAAAEAwBHMEUCIQCmu1jQUG9A2br7OqwMFvQXtBX10yIvvDa6a2Ov1Zgg6gIgKlqRvN6WhX0pSHAN2bKmjRwIUI3X9kjS/A/mDYULaV4wDQYJ
KoZIhvcNAQELBQADggEBAIbTQWQhqrG6SzwLq79tKCpI0aL0xlD+/jrGPxpwTlK7rtAArHiEVh/bsmwLYRlIxPBiU+NE/kqeT0lhJA6/e3X3KRmnpJ6uZ70PJGYw
mZbSRsFom0vGFBMncX0qYx1iD0dooPeAkkSnM5j81rBh+FepV3HfF+tA9gaglWLsU7Z/A0fdn9D32UPreVHloOut5EyEinvXRUAWZco9CRloyEXJr7Mxq9MZvYOK
+5wuSPHnPij+fGlQsPxEgoTnCmU03PqNS49kL13jjEnYYdijqL+4rfHtuZbc4hlVoZfttwg8wD3m5brhQ+GkBBNYN8HFtdVy/BnFi+SPJqv6BgB3Y00=
-----END CERTIFICATE-----
"""
"""Of sns.amazonaws.com, from 2025-11-10 to 2026-10-14."""
ARN = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic"
AT_AMAZON = "https://sns.us-west-2.amazonaws.com/"
OF_AMAZON = AT_AMAZON + "SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"
TOKEN = (
    "2336412f37fb687f5d51e6e2425929f52e8e353134fe72d55ef8b330217d82da14007cbccefffd35b695feb8f0294d01fd9644f41e1ddfad26"  # noqa: S105 - spent
    "1519a2c0bac743ff375eeb64530147d2da57f3acc54739da14c8dbd48a9d58ce996eff0d498ea6b4b9f58720d8959b52b99b8de1480817"
    "20d7da17434e376614a00c992e7823e4"
)


class Signed(NamedTuple):
    provider: Provider
    secret: str
    at: datetime
    headers: dict[str, str]
    body: bytes
    """What is signed, or in which it lies."""
    signed: bytes
    """A part of the body that the signature covers."""


def of_sns(at: str, version: str, signature: str, **fields: str) -> Signed:
    message = {"TopicArn": ARN, "Timestamp": at, "SignatureVersion": version, "Signature": signature}
    body = orjson.dumps(message | {"SigningCertURL": OF_AMAZON} | fields)
    return Signed(
        ses.Ses({OF_AMAZON: AMAZON.encode()}.__getitem__),
        ARN,
        datetime.fromisoformat(at),
        {},
        body,
        fields["MessageId"].encode(),
    )


SIGNED = {
    # github.com/sendgrid/sendgrid-python, test/unit/test_eventwebhook.py (MIT)
    "sendgrid": Signed(
        sendgrid.PROVIDER,
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eN"
        "Ec6wEA3F+g==",
        datetime.fromtimestamp(1600112502, UTC),
        {
            sendgrid.SIGNATURE: "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M"
            "15TluLtEZtM=",
            sendgrid.TIMESTAMP: "1600112502",
        },
        b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
        b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
        b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
        b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n',
        b"dropped",
    ),
    # github.com/symfony/symfony, Mailer/Bridge/Mailgun/Tests/Webhook/Fixtures/delivered_messages.json (MIT)
    "mailgun": Signed(
        mailgun.PROVIDER,
        "key-0p6mqbf74lb20gzq9f4dhpn9rg3zyk26",
        datetime.fromtimestamp(1661621787, UTC),
        {},
        b'{"signature": {"token": "d1931d9645b65e60f6fddf94448e982ff8db9256144a7fcb15", "timestamp": "1661621787", '
        b'"signature": "1aed11dcc25700d6b75f9a6d568343ea02ecdd3fc89cc3209e2883a19e5cdd50"}, "event-data": '
        b'{"id": "CPgfbmQMTCKtHW6uIWtuVe", "timestamp": 1521472262.000002, "event": "delivered"}}',
        b"d1931d96",
    ),
    # docs.svix.com/receiving/verifying-payloads/how-manual
    "resend": Signed(
        resend.PROVIDER,
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        datetime.fromtimestamp(1731705121, UTC),
        {
            "svix-id": "msg_loFOjxBNrRLzqYUf",
            "svix-timestamp": "1731705121",
            "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        },
        b'{"event_type":"ping","data":{"success":true}}',
        b"true",
    ),
    # the same page, before 2024
    "standard": Signed(
        standard.PROVIDER,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        datetime.fromtimestamp(1614265330, UTC),
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
        b"2432232314",
    ),
    # Signed by Amazon itself; github.com/aws/aws-sdk-java-v2, services-custom/sns-message-manager/src/test/resources
    # (Apache 2.0)
    "SNS, version 1": of_sns(
        "2026-03-06T19:55:38.903Z",
        "1",
        "h5/2kLNyPKvMH+ipOA1kueaA1GLFlcKbO/9o6GbH7BtKk/8lM8krPFDrV+Lwuq8yZDXTxeSXHR8pG1w9MkKQ3VlsHhMigy+5ejIsb+ZfpkDDO6dOACbk"
        "Tg1twy9tLeKCyPfU01OokKTR6jlKJGCgXXDQm5Q1Fs4NfUz22xGqteycG1GIioqq2Hvd1PLsDkcoyUAhciugGFcZKIGjUbBtdhMTPFX1ed8iH+Y/p6o/"
        "eD0G2i614oRSXYRJyV2iNpl54LCCiCrAafAJAM5NXAJJq9CWyTjxHFC18FnPqSukW1/6Qa502oujhPJ/pyl+6mMBoF6LjnpbIyR8/Gmm+RY6fg==",
        Type="Notification",
        MessageId="c0e5a280-53c9-5a98-93bb-c0a560b3d192",
        Message="This notification has no subject.",
    ),
    "SNS, with a subject": of_sns(
        "2026-03-06T19:53:21.424Z",
        "1",
        "jvNSgHVOF9KUOKI3bmQZhURD0kDN6txhfjiyuvnV95Dw6b2SRa7nq3AhM8agP0KUCIrRgKHqUlN6K2XBA35Lzkx1eI5RT0oXIN00pvvzGxSz0ddnuSGm"
        "DJM7bd/b1vl2RlLjz+KvkhzEtspxLnxjLsGl2EpOmztt+um7owb4475sOLdGTx1QiFV/8HqB2J0DyjeWdRZvu7Xpsf1Yd2rgmijFoz8x89Vw8pIksjcz"
        "r4q16pxdh/XKWjbN2uPoC+3EeYdljL8KUvLYH9ueHSs5E9qq2iLdze4+FtANnE73XRvvSGE0KI+FGOvz1igest6qon3g1/CVy4mq3n19TsCSmA==",
        Type="Notification",
        MessageId="26858270-545e-5848-82a2-e05566af3dcf",
        Subject="My message subject",
        Message="Hello! This message has a subject.",
    ),
    "SNS, version 2": of_sns(
        "2026-03-06T20:00:26.893Z",
        "2",
        "kGNJ7FIM5DJxRv9bdoSJBty2WHpADFWrJ0ZQU/A2sALy6tBE5hqfUvPRlklTJ+PACFMguoFOO7W6ac/Bs4gR+JBRFhx4598X8/HWzrmaLrtB2f7nzViH"
        "bpzYN+u+OewXhxjj2lNsu0bLKv6fogkACytDIOhjZylbfJoPphDYAB7T3Ila7u+K3m2wLHH4k1cPYKyBf5FI/kAoQAVsY6qFHeb6CWfHsdM98I2gwyEv"
        "wJSzW0iyYBfqckmthQwH3Ex53jrhQlZylXFDYmstSJAdvbLeGqIUxKyk+O25wYgBjbbbeR+2qE2UCGEQrk1Bq018wmTxdHZmDhoBjJXiGmFkfg==",
        Type="Notification",
        MessageId="9d2c5580-b61d-550c-8583-37a582870907",
        Message="This message uses signature version 2.",
    ),
    "SNS, asking to confirm": of_sns(
        "2026-03-06T19:31:32.895Z",
        "1",
        "Ce2Ax8UbEq0RrVH7gsjP9WZ9bzif7dUkAY4OH99Pv7FSrvs8cK+uiH3a6ig54rXWUnZRUejk8K6KeK5Q80O9iJp8KbPRKdQ0PkJ3YASdabhfK0e7evC0"
        "5YR2pFoS6nNaqNzT7HrR1d1Z9iLoFxluo2Dzb7kWVB7e9jp/y+ZBXRzRIaZgscM84kahBc6QgXOFJA1/PFA4cB5qaa6tBcUFtTE63o9vJ4wMmKk93W9M"
        "oszC+dNJeVFr8VHmt3toR+3JauBCZnGdgXgsDhni4PduSfWJJxEpuOK41iYf1hW+xFNFFsv46siTFiHdHiYDfI7/VlaY4spMgkq3EndRr7rHzQ==",
        Type="SubscriptionConfirmation",
        MessageId="f3f2fc87-c426-4c2f-9044-b55890c0939c",
        Token=TOKEN,
        Message=f"You have chosen to subscribe to the topic {ARN}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.",
        SubscribeURL=f"{AT_AMAZON}?Action=ConfirmSubscription&TopicArn={ARN}&Token={TOKEN}",
    ),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_made_by_the_provider_is_understood_and_covers_what_it_should(name: str) -> None:
    """It proves the delivery, and no longer does once a byte that it covers is another."""
    provider, secret, at, headers, body, signed = SIGNED[name]
    delivery = Delivery(headers, body, at)
    provider.verify(delivery, [secret], at)
    assert body.count(signed) == 1
    other = Delivery(headers, body.replace(signed, signed[:-1] + b"0"), at)
    assert refused(provider, other, [secret], at) == "signature"
