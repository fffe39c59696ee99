"""Signatures: what MLflow and Databricks sign is taken, anything else is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.service.deliveries import (
    TOLERANCE,
    Refusal,
    Refused,
    Trust,
    check_databricks,
    check_mlflow,
)

NOW = 1_800_000_000
SECRET = "open sesame"
BODY = b'{"entity": "model_version", "action": "created", "data": {"name": "m\xc3\xbcll"}}'
TRUST = Trust(secrets=(SECRET,))

SECRETS = st.text(min_size=1, max_size=40)
NEAR = st.integers(NOW - TOLERANCE, NOW + TOLERANCE)
IDS = st.uuids().map(str)


def of_mlflow(body=BODY, secret=SECRET, delivery_id="6f1e", timestamp=NOW) -> dict[str, str]:
    """Sign as the words of MLflow's documentation say, with none of our code."""
    mac = hmac.new(secret.encode(), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "x-mlflow-delivery-id": delivery_id,
        "x-mlflow-timestamp": str(timestamp),
        "x-mlflow-signature": "v1," + base64.b64encode(mac.digest()).decode(),
    }


def of_databricks(body=BODY, secret=SECRET) -> dict[str, str]:
    return {"x-databricks-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def refusal(check, *arguments) -> Refusal:
    with pytest.raises(Refused) as refused:
        check(*arguments)
    return refused.value.refusal


@given(st.binary(max_size=300), SECRETS, IDS, NEAR)
def test_what_mlflow_signs_is_taken(body, secret, delivery_id, timestamp):
    headers = of_mlflow(body, secret, delivery_id, timestamp)
    taken = check_mlflow(headers, body, Trust(secrets=(secret,)), NOW)
    assert taken == delivery_id


@given(st.binary(max_size=300), SECRETS)
def test_what_databricks_signs_is_taken(body, secret):
    assert check_databricks(of_databricks(body, secret), body, Trust(secrets=(secret,))) is None


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_bit_is_refused(body, data):
    position = data.draw(st.integers(0, 8 * len(body) - 1))
    changed = bytearray(body)
    changed[position // 8] ^= 1 << position % 8
    assert refusal(check_mlflow, of_mlflow(body), bytes(changed), TRUST, NOW) is Refusal.WRONG_SIGNATURE
    assert refusal(check_databricks, of_databricks(body), bytes(changed), TRUST) is Refusal.WRONG_SIGNATURE


@given(st.sampled_from(["x-mlflow-delivery-id", "x-mlflow-timestamp"]))
def test_id_and_timestamp_are_signed_too(name):
    other = of_mlflow(delivery_id="another", timestamp=NOW - 1)
    headers = {**of_mlflow(), name: other[name]}
    assert refusal(check_mlflow, headers, BODY, TRUST, NOW) is Refusal.WRONG_SIGNATURE


def test_nothing_moves_from_the_id_into_the_body():
    """`a.1.b` may be cut in several ways; an ID has no way to hold the timestamp, which is digits alone."""
    headers = of_mlflow(b"7.{}", delivery_id="a", timestamp=NOW)
    moved = {**headers, "x-mlflow-delivery-id": f"a.{NOW}", "x-mlflow-timestamp": "7"}
    assert refusal(check_mlflow, moved, b"{}", TRUST, NOW) is Refusal.TOO_OLD


@given(st.dictionaries(st.sampled_from(list(of_mlflow())), st.text(max_size=50)), st.binary(max_size=50))
def test_rubbish_is_refused_and_breaks_nothing(headers, body):
    assert isinstance(refusal(check_mlflow, headers, body, TRUST, NOW), Refusal)


@given(st.text(max_size=70))
def test_a_signature_that_is_rubbish_is_refused(signature):
    headers = {"x-databricks-signature": signature}
    assert refusal(check_databricks, headers, BODY, TRUST) in (Refusal.WRONG_SIGNATURE, Refusal.UNSIGNED)


@pytest.mark.parametrize("change", [str.upper, lambda text: text + " ", lambda text: text.removeprefix("v1,")])
def test_only_the_exact_form_counts(change):
    mlflow = {**of_mlflow(), "x-mlflow-signature": change(of_mlflow()["x-mlflow-signature"])}
    if mlflow != of_mlflow():
        assert refusal(check_mlflow, mlflow, BODY, TRUST, NOW) is Refusal.WRONG_SIGNATURE
    databricks = {"x-databricks-signature": change(of_databricks()["x-databricks-signature"])}
    if databricks != of_databricks():
        assert refusal(check_databricks, databricks, BODY, TRUST) is Refusal.WRONG_SIGNATURE


@pytest.mark.parametrize(
    ("apart", "taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False), (10**9, False)]
)
def test_five_minutes_either_way(apart, taken):
    headers = of_mlflow(timestamp=NOW - apart)
    if taken:
        assert check_mlflow(headers, BODY, TRUST, NOW) == "6f1e"
    else:
        assert refusal(check_mlflow, headers, BODY, TRUST, NOW) is Refusal.TOO_OLD


def test_without_the_secret_nobody_learns_that_a_timestamp_is_old():
    headers = of_mlflow(secret="guess", timestamp=NOW - 10_000)
    assert refusal(check_mlflow, headers, BODY, TRUST, NOW) is Refusal.WRONG_SIGNATURE


@pytest.mark.parametrize("name", ["x-mlflow-delivery-id", "x-mlflow-timestamp"])
@pytest.mark.parametrize("value", ["", None, "a b", "-1", "1" * 200, "1e9", "\u0661"])
def test_malformed_headers(name, value):
    headers = of_mlflow()
    if value is None:
        del headers[name]
    elif name == "x-mlflow-delivery-id" and value in ("-1", "1e9"):
        return  # fine as an ID
    else:
        headers[name] = value
    assert refusal(check_mlflow, headers, BODY, TRUST, NOW) is Refusal.MALFORMED


def test_while_a_secret_changes_both_are_taken():
    trust = Trust(secrets=("new", "old"))
    for secret in trust.secrets:
        assert check_mlflow(of_mlflow(secret=secret), BODY, trust, NOW) == "6f1e"
        assert check_databricks(of_databricks(secret=secret), BODY, trust) is None
    assert refusal(check_mlflow, of_mlflow(secret="older"), BODY, trust, NOW) is Refusal.WRONG_SIGNATURE


UNSIGNED = {name: text for name, text in of_mlflow().items() if name != "x-mlflow-signature"}


class TestUnsigned:
    """What has no signature."""

    def test_is_refused_unless_told_otherwise(self):
        assert refusal(check_mlflow, UNSIGNED, BODY, TRUST, NOW) is Refusal.UNSIGNED
        assert refusal(check_databricks, {}, BODY, TRUST) is Refusal.UNSIGNED
        assert refusal(check_databricks, {}, BODY, Trust(secrets=())) is Refusal.UNSIGNED

    def test_is_taken_where_the_settings_say_so(self):
        trust = Trust(secrets=(), unsigned=True)
        assert check_mlflow(UNSIGNED, BODY, trust, NOW) == "6f1e"
        assert check_databricks({}, BODY, trust) is None
        assert check_databricks(of_databricks(), BODY, trust) is None

    def test_a_wrong_signature_is_worse_than_none(self):
        trust = Trust(secrets=(SECRET,), unsigned=True)
        headers = of_mlflow(secret="guess")
        assert refusal(check_mlflow, headers, BODY, trust, NOW) is Refusal.WRONG_SIGNATURE

    def test_without_a_secret_every_signature_is_wrong(self):
        nothing = Trust(secrets=())
        assert refusal(check_mlflow, of_mlflow(secret=""), BODY, nothing, NOW) is Refusal.WRONG_SIGNATURE


def test_refusals_tell_nothing_of_secret_or_body():
    for each in Refusal:
        assert SECRET not in each.value
    with pytest.raises(Refused) as refused:
        check_mlflow(of_mlflow(secret="guess"), BODY, TRUST, NOW)
    assert str(refused.value) == "its signature is wrong"


def test_mlflows_own_sender_signs_what_we_take(monkeypatch):
    """The request that MLflow's delivery code makes, caught where it would leave for the network."""
    delivery = pytest.importorskip("mlflow.webhooks.delivery")
    from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookStatus

    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    event = WebhookEvent("model_version_alias", "created")
    webhook = Webhook(
        webhook_id="1",
        name="ours",
        url="http://127.0.0.1:1/webhooks/mlflow",
        events=[event],
        creation_timestamp=0,
        last_updated_timestamp=0,
        status=WebhookStatus.ACTIVE,
        secret=SECRET,
    )
    sent = {}

    class Session:
        def post(self, url, data, headers, timeout):
            sent.update(data=data, headers={name.lower(): text for name, text in headers.items()})

    delivery._send_webhook_request(webhook, {"name": 'mül"l'}, event, Session())
    stamp = int(sent["headers"]["x-mlflow-timestamp"])
    taken = check_mlflow(sent["headers"], sent["data"], TRUST, stamp + 9)
    assert taken == sent["headers"]["x-mlflow-delivery-id"]
    assert json.loads(sent["data"])["data"]["name"] == 'mül"l'
    assert refusal(check_mlflow, sent["headers"], sent["data"] + b" ", TRUST, stamp) is Refusal.WRONG_SIGNATURE
