"""What providers sign and never documented: no fault at the door, none behind it, and all of it is recorded or kept.

Signatures are right, so whatever is odd is read. A few dozen bodies by default, over 100,000 under RAPPORT_SOAK.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.node import Node
from consumers import settling, trying
from consumers.webhooks import ses
from consumers.webhooks.delivery import Delivery
from consumers.webhooks.registry import PROVIDERS
from tests.deliveries import (
    mailgun_event,
    of_mailgun,
    of_postmark,
    of_sendgrid,
    of_ses,
    postmark_event,
    sendgrid_event,
    ses_event,
    sns_certificate,
)
from tests.integration.test_http import running, somebody
from tests.integration.test_webhooks import SECRETS, emptied, now, post
from tests.unit import (
    test_webhooks_ashby,
    test_webhooks_greenhouse,
    test_webhooks_lever,
    test_webhooks_resend,
    test_webhooks_standard,
)

OF_EACH = 11_200 if "RAPPORT_SOAK" in os.environ else 8
AT_ONCE = 100
"""Made and sent together, by as many connections as a provider would have."""
SENDERS = 4
TIMES = ("timestamp", "triggeredAt")
ODD: list[Any] = [None, True, 0, -1, 2**70, -1e308, "", " ", "\x00", "\ufffd☃" * 500, "a@b", "@", "<x@example.com>"]
ODD += [[], {}, [[]], {"": {}}, [None], "9" * 400, "2026-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00", "x" * 5_000]
ODD += [json.loads("[" * 150 + "]" * 150), 1e-320, "1e400", "nan", 253402300800000, {"email": {"email": []}}]

Here = tuple[Node, httpx.Client]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    certificate = sns_certificate()  # of the one key, which several threads at once would make several of
    ses.PROVIDER._certificates, before = lambda _: certificate, ses.PROVIDER._certificates
    others = {
        "ashby": test_webhooks_ashby,
        "greenhouse": test_webhooks_greenhouse,
        "lever": test_webhooks_lever,
        "resend": test_webhooks_resend,
        "standard": test_webhooks_standard,
    }
    with running(tmp_path_factory.mktemp("malformed") / "data") as (node, client):
        for provider, secret in (SECRETS | {name: str(module.SECRET) for name, module in others.items()}).items():
            node.intake.secrets.add(provider, secret)
        yield node, client
    ses.PROVIDER._certificates = before


def samples(provider: str) -> list[Any]:
    """Bodies in the documented shape."""
    stamp = int(now().timestamp() * 1_000)
    match provider:
        case "sendgrid":
            kinds = ("delivered", "open", "click", "bounce", "unsubscribe", "spamreport")
            return [[sendgrid_event(kind, uuid4().hex, email=somebody()) for kind in kinds]]
        case "postmark":
            return [postmark_event(kind) for kind in ("Delivery", "Bounce", "Open", "Click", "SubscriptionChange")]
        case "mailgun":
            return [mailgun_event(kind) for kind in ("delivered", "opened", "failed", "unsubscribed", "complained")]
        case "ses":
            return [ses_event(kind) for kind in ("Delivery", "Bounce", "Complaint", "Click", "Subscription")]
        case "lever":
            return [body | {"triggeredAt": stamp} for body in test_webhooks_lever.ALL]
        case "ashby":
            return test_webhooks_ashby.ALL
        case "greenhouse":
            return test_webhooks_greenhouse.ALL
        case "resend":
            return [test_webhooks_resend.CLICKED, test_webhooks_resend.BOUNCED]
    return [test_webhooks_standard.ATTENDED]


def signed(provider: str, body: Any) -> Delivery:
    raw = json.dumps(body).encode()
    match provider:
        case "sendgrid":
            return of_sendgrid(raw, now())
        case "postmark":
            return of_postmark(raw)
        case "mailgun":
            return of_mailgun(body, now(), token=uuid4().hex)
        case "ses":
            return of_ses(body, now())
        case "lever":
            sent = test_webhooks_lever.sent({"triggeredAt": body.get("triggeredAt")}, token=uuid4().hex)
            return Delivery(sent.headers, json.dumps(body | json.loads(sent.body)).encode(), now())
        case "ashby":
            return test_webhooks_ashby.sent(raw)
        case "greenhouse":
            return test_webhooks_greenhouse.sent(raw)
        case "resend":
            return test_webhooks_resend.sent(raw, id_=uuid4().hex, at=now())
    return test_webhooks_standard.signed(raw, test_webhooks_standard.SECRET, id_=uuid4().hex, at=now())


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something lies in a document, itself included, its proof of time left out."""
    yield path
    parts = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in parts:
        if key not in TIMES or path:
            yield from places(value, (*path, key))


def altered(body: Any, random_: random.Random, change: Callable[[Any], Any]) -> Any:
    """A document of which one thing was changed, taken out or put in a list."""
    found = copy.deepcopy(body)
    if not (paths := [path for path in places(found) if path]):
        return found
    path, parent = random_.choice(paths), found
    for step in path[:-1]:
        parent = parent[step]
    if random_.random() < 0.1:
        del parent[path[-1]]
    else:
        parent[path[-1]] = change(parent[path[-1]])
    return found


def malformed(provider: str, random_: random.Random) -> Any:
    body = random_.choice(samples(provider))
    for _ in range(random_.randint(1, 3)):
        odd = random_.choice(ODD)
        body = altered(body, random_, lambda value, odd=odd: random_.choice([odd, odd, [value, odd], {"x": value}]))
    return body


def test_what_is_signed_and_was_never_documented_is_recorded_or_kept_and_nothing_faults(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, http = here
    monkeypatch.setattr(settling, "backoff_s", lambda *_: 0.01)
    monkeypatch.setattr(trying, "EARLY_FOR_S", 0.0)
    random_, statuses = random.Random(11), Counter[tuple[str, int]]()

    def sent(body_of: tuple[str, Any]) -> tuple[str, int]:
        provider, body = body_of
        status = post(http, provider, signed(provider, body)).status_code
        assert status in (200, 202, 400, 401, 413), (provider, status, body)
        return provider, status

    with ThreadPoolExecutor(SENDERS) as senders:
        for begun in range(0, OF_EACH, AT_ONCE):
            rounds = range(min(AT_ONCE, OF_EACH - begun))
            statuses.update(senders.map(sent, [(name, malformed(name, random_)) for _ in rounds for name in PROVIDERS]))
    for provider in PROVIDERS:
        taken = statuses[provider, 200] + statuses[provider, 202]
        assert taken > OF_EACH / 3, (provider, statuses)
    while left := node.intake.queue.depth().messages:  # after so many there is more to do than a minute's work
        with suppress(AssertionError):
            emptied(node)
        assert node.intake.queue.depth().messages < left
    assert node.intake.failure is None
    reasons = {reason for letter in node.intake.letters.letters() for reason in letter.reasons}
    assert not [reason for reason in reasons if "fault of Rapport" in reason]
