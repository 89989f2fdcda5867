"""Standard Webhooks: any sender whose `data` is an interaction as the API takes it."""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from consumers.webhooks.delivery import Delivery, Happening, Unreadable
from consumers.webhooks.standard import PROVIDER
from domain.candidate import BY_OFFICERS
from domain.errors import InvalidInteraction
from tests.unit.promises import (
    A_FEW,
    NOW,
    OTHER_DAY,
    anything,
    broken,
    check_what_cannot_be_read,
    delivery,
    event,
    records,
    refused,
)

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
OTHER = "whsec_" + base64.b64encode(b"another of twenty-four by").decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()

ATTENDED: dict[str, Any] = {
    "type": "meetup.attended",
    "timestamp": "2026-03-01T19:26:10.344522Z",
    "data": {
        "type": "event_attended",
        "candidate": {"email": "mary.somerville@example.org"},
        "data": {"event": "Berlin meetup"},
    },
}


def signed(body: Any, *secrets: str, id_: str = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", at: datetime = NOW) -> Delivery:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    seconds = str(int(at.timestamp()))
    content = f"{id_}.{seconds}.".encode() + raw
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [b"v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()) for key in keys]
    headers = {"webhook-id": id_, "webhook-timestamp": seconds, "webhook-signature": b" ".join(signatures).decode()}
    return delivery(raw, headers, at)


def changed(what: Delivery, **headers: str) -> Delivery:
    return Delivery({**what.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}, what.body, NOW)


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER, SECRET], [SECRET, OTHER], [SECRET.removeprefix("whsec_")]])
def test_a_delivery_is_proved_by_any_of_our_secrets(secrets: list[str]) -> None:
    PROVIDER.verify(signed(ATTENDED, SECRET), secrets, NOW)


def test_a_sender_that_rotates_its_secret_signs_with_both() -> None:
    both = signed(ATTENDED, OTHER, SECRET)
    PROVIDER.verify(both, [SECRET], NOW)
    PROVIDER.verify(both, [OTHER], NOW)


def test_a_public_key_proves_what_its_private_key_signed() -> None:
    plain = signed(ATTENDED)
    content = b".".join([plain.headers["webhook-id"].encode(), plain.headers["webhook-timestamp"].encode(), plain.body])
    good = changed(plain, webhook_signature="v1a," + base64.b64encode(PRIVATE.sign(content)).decode())
    PROVIDER.verify(good, [SECRET, PUBLIC], NOW)
    assert refused(PROVIDER, Delivery(good.headers, good.body + b" ", NOW), [PUBLIC]) == "signature"
    assert refused(PROVIDER, good, [SECRET]) == "signature"


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """Everybody may know the key; it must not do as the key of an HMAC."""
    key = PUBLIC.removeprefix("whpk_")
    assert refused(PROVIDER, signed(ATTENDED, key), [PUBLIC]) == "signature"


@pytest.mark.parametrize("secrets", [[], [""], ["whsec_"], ["whpk_"], ["whsec_no base64"], ["ö"], [OTHER]])
def test_nothing_is_taken_without_the_right_secret(secrets: list[str]) -> None:
    assert refused(PROVIDER, signed(ATTENDED, SECRET), secrets) == "signature"


def test_the_right_value_under_another_version_proves_nothing() -> None:
    good = signed(ATTENDED, SECRET)
    value = good.headers["webhook-signature"].removeprefix("v1,")
    for version in ("v2", "v1a", "", "V1"):
        assert refused(PROVIDER, changed(good, webhook_signature=f"{version},{value}"), [SECRET, PUBLIC]) == "signature"


def test_an_empty_secret_proves_nothing() -> None:
    assert refused(PROVIDER, signed(ATTENDED, ""), [""]) == "signature"
    assert refused(PROVIDER, signed(ATTENDED, ""), ["whsec_"]) == "signature"


@A_FEW
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = signed(ATTENDED, SECRET)
    place, bit = data.draw(st.integers(0, len(good.body) - 1)), data.draw(st.integers(0, 7))
    body = bytearray(good.body)
    body[place] ^= 1 << bit
    assert refused(PROVIDER, Delivery(good.headers, bytes(body), NOW), [SECRET]) == "signature"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed_and_signed(name: str) -> None:
    good = signed(ATTENDED, SECRET)
    missing = Delivery({n: v for n, v in good.headers.items() if n != name}, good.body, NOW)
    assert refused(PROVIDER, missing, [SECRET]) == "signature"
    other = "1772452799" if name == "webhook-timestamp" else "v1,AAAA"
    assert refused(PROVIDER, Delivery({**good.headers, name: other}, good.body, NOW), [SECRET]) == "signature"


@pytest.mark.parametrize("seconds", ["soon", "-5", "1.5", "１２", "9" * 40, " 1772452800"])
def test_a_time_that_is_none_is_malformed(seconds: str) -> None:
    assert refused(PROVIDER, changed(signed(ATTENDED, SECRET), webhook_timestamp=seconds), [SECRET]) == "malformed"


@pytest.mark.parametrize("signature", ["v1", "v1,", ",", "v1,ö", "v2,AAAA", "v1a,ö", "v1a,AAAA", " ", "v1, " * 999])
def test_a_signature_in_no_form_we_know_proves_nothing(signature: str) -> None:
    what = changed(signed(ATTENDED, SECRET), webhook_signature=signature)
    assert refused(PROVIDER, what, [SECRET, PUBLIC]) == "signature"


def test_a_time_further_than_five_minutes_is_stale_either_way() -> None:
    good = signed(ATTENDED, SECRET)
    for apart in (timedelta(minutes=5), timedelta(minutes=-5)):
        PROVIDER.verify(good, [SECRET], NOW + apart)
        further = NOW + apart * 1.01
        assert refused(PROVIDER, good, [SECRET], further) == "stale"


def test_data_is_an_interaction_as_the_api_takes_it() -> None:
    (record,) = records(PROVIDER.read(signed(ATTENDED, SECRET)))
    assert record == {
        "id": "standard:msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        "type": "event_attended",
        "candidate": {"email": "mary.somerville@example.org"},
        "occurred_at": "2026-03-01T19:26:10.344522+00:00",
        "source": "standard",
        "actor": "system:standard",
        "data": {"event": "Berlin meetup"},
    }


def test_what_the_sender_says_itself_stands() -> None:
    own = {"occurred_at": "2026-02-01T10:00:00+01:00", "source": "meetups", "actor": "candidate:self"}
    (record,) = records(PROVIDER.read(signed({**ATTENDED, "data": ATTENDED["data"] | own}, SECRET)))
    assert record.items() >= own.items()


def test_no_sender_speaks_for_a_user_of_ours() -> None:
    (record,) = records(PROVIDER.read(signed({**ATTENDED, "data": ATTENDED["data"] | {"actor": "user:grace"}}, SECRET)))
    assert record["actor"] == "system:standard"


@pytest.mark.parametrize("type_", sorted(BY_OFFICERS))
@pytest.mark.parametrize("actor", ["user:officer", "candidate:self", "service:crm"])
def test_no_sender_does_what_officers_do(type_: str, actor: str) -> None:
    """Kept, with what to do instead."""
    data = {"type": type_, "candidate": {"email": "mary.somerville@example.org"}, "actor": actor}
    with pytest.raises(Unreadable, match=f"no sender may report {type_}; an officer records it"):
        PROVIDER.read(signed({**ATTENDED, "data": data}, SECRET))


def test_a_message_sent_again_tells_of_the_same() -> None:
    first, again = signed(ATTENDED, SECRET), signed(ATTENDED, SECRET, OTHER, at=OTHER_DAY)
    assert records(PROVIDER.read(first)) == records(PROVIDER.read(again))


def test_one_interaction_in_two_messages_is_one() -> None:
    body = {**ATTENDED, "data": ATTENDED["data"] | {"id": "meetups:42"}}
    first, second = (records(PROVIDER.read(signed(body, SECRET, id_=id_))) for id_ in ("msg_1", "msg_2"))
    assert first == second
    assert first[0]["id"] != records(PROVIDER.read(signed(ATTENDED, SECRET, id_="meetups:42")))[0]["id"]


@A_FEW
@given(st.lists(st.text(min_size=1, max_size=90), min_size=2, max_size=2, unique=True))
def test_two_messages_are_never_one(ids: list[str]) -> None:
    told = [PROVIDER.read(delivery(ATTENDED, {"webhook-id": id_}))[0].record or {} for id_ in ids]
    assert told[0]["id"] != told[1]["id"]
    assert [event(record).interaction for record in told] == [record["id"] for record in told]


def test_no_plain_id_can_pass_for_one_that_was_digested() -> None:
    (digested,) = records(PROVIDER.read(signed(ATTENDED, SECRET, id_="one two")))
    passing = digested["id"].removeprefix("standard:")
    assert records(PROVIDER.read(signed(ATTENDED, SECRET, id_=passing)))[0]["id"] != digested["id"]
    assert records(PROVIDER.read(signed(ATTENDED, SECRET, id_=passing[1:])))[0]["id"] != digested["id"]


@pytest.mark.parametrize("data", [None, [], {}, {"id": "1f81eb52", "type": "contact"}, {"candidate": {}}, "text"])
def test_any_other_event_is_kept_and_shown(data: Any) -> None:
    assert PROVIDER.read(signed({**ATTENDED, "data": data}, SECRET)) == [Happening("meetup.attended", known=False)]


def test_what_is_wrong_with_an_interaction_is_said_as_to_any_caller() -> None:
    for wrong in ({"data": {"evnt": "x"}}, {"type": "teleported"}, {"id": 5}, {"type": "erased", "data": {}}):
        (happening,) = PROVIDER.read(signed({**ATTENDED, "data": ATTENDED["data"] | wrong}, SECRET))
        assert happening.record is not None
        with pytest.raises(InvalidInteraction):
            event(happening.record)


def test_what_has_no_time_at_all_is_given_none() -> None:
    (happening,) = PROVIDER.read(signed({k: v for k, v in ATTENDED.items() if k != "timestamp"}, SECRET))
    with pytest.raises(InvalidInteraction, match="occurred_at: is missing"):
        event(happening.record or {})


def test_what_cannot_be_read_is_unreadable_and_what_is_unknown_is_kept() -> None:
    check_what_cannot_be_read(PROVIDER, {"webhook-id": "msg_1"}, "type")
    with pytest.raises(Unreadable):
        PROVIDER.read(delivery(ATTENDED))
    for time in ("yesterday", "2026-03-01T19:26:10", 4.5, True, [], "0001-01-01T00:00:00+14:00", 10**18):
        with pytest.raises(Unreadable):
            PROVIDER.read(signed({**ATTENDED, "timestamp": time}, SECRET))


@A_FEW
@given(broken(ATTENDED) | st.fixed_dictionaries({"type": st.just("x"), "data": anything}))
def test_no_payload_ends_in_anything_but_an_event_or_a_sentence(body: dict[str, Any]) -> None:
    try:
        for happening in PROVIDER.read(delivery(body, {"webhook-id": "msg_1"})):
            if happening.record is not None:
                event(happening.record)
    except (Unreadable, InvalidInteraction) as problem:
        assert "\n" not in str(problem)
