"""Whether a delivery is from the registry that shares our secret: signatures over the body as it came.

Two protocols, each a pure function of headers, raw body, secrets and time:

- MLflow 3.3 and newer (`mlflow/webhooks/delivery.py`): `X-MLflow-Signature` is `v1,` and the base64 of the
  HMAC-SHA256 of `<delivery id>.<timestamp>.<body>`; its retries repeat id, timestamp and signature.
- Databricks' legacy registry webhooks ("MLflow Model Registry Webhooks", client verification):
  `X-Databricks-Signature` is the lower-case hexadecimal HMAC-SHA256 of the body. There is no id and no
  timestamp beside it: that the same body again is the same event is for `events` to see.

What a refusal says is fixed text: nothing of the secrets, and nothing of what was sent.
"""

from __future__ import annotations

import base64
import enum
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: How far the sender's clock and ours may be apart, and how long a delivery may travel, in seconds.
TOLERANCE = 300

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECONDS = re.compile(r"[0-9]{1,12}")

# Of what is signed and the secret.
_Sign = Callable[[bytes, str], str]


class Refusal(enum.Enum):
    """Why a delivery is not taken."""

    UNSIGNED = "it is not signed"
    WRONG_SIGNATURE = "its signature is wrong"
    TOO_OLD = "its timestamp is more than five minutes away"
    MALFORMED = "its delivery ID or timestamp is missing or malformed"


class Refused(Exception):
    """A delivery that is not taken; becomes an answer, never leaves the door.

    Args:
        refusal: Why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What is believed."""

    secrets: Sequence[str]
    """Any of them may have signed: while a secret is changed there are two."""
    unsigned: bool = False
    """Whether what has no signature is taken."""


def check_mlflow(headers: Mapping[str, str], body: bytes, trust: Trust, now: float) -> str:
    """Check a delivery of MLflow's own server, and return its ID: the same for every attempt to deliver an event.

    Args:
        headers: By lower-case name.
        body: As it came, unparsed.
        trust: What is believed.
        now: Seconds since 1970.

    Raises:
        Refused: It is unsigned, wrongly signed, too old or malformed.
    """
    delivery_id, timestamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
    if _ID.fullmatch(delivery_id) is None or _SECONDS.fullmatch(timestamp) is None:
        raise Refused(Refusal.MALFORMED)
    signed = b".".join((delivery_id.encode(), timestamp.encode(), body))
    _check(headers.get("x-mlflow-signature"), signed, trust, _mlflow_signature)
    # After the signature: who has no secret learns nothing of our clock.
    if abs(now - int(timestamp)) > TOLERANCE:
        raise Refused(Refusal.TOO_OLD)
    return delivery_id


def check_databricks(headers: Mapping[str, str], body: bytes, trust: Trust) -> None:
    """Check a delivery of Databricks' legacy registry, which has no ID.

    Args:
        headers: By lower-case name.
        body: As it came, unparsed.
        trust: What is believed.

    Raises:
        Refused: It is unsigned or wrongly signed.
    """
    _check(headers.get("x-databricks-signature"), body, trust, _databricks_signature)


def _check(given: str | None, signed: bytes, trust: Trust, sign: _Sign) -> None:
    """Refuse what is not signed, where it has to be; a wrong signature is refused even where none would do."""
    if not given:
        if trust.unsigned:
            return
        raise Refused(Refusal.UNSIGNED)
    if not trust.secrets and trust.unsigned:
        return  # somebody else's secret, which we were not told
    # Bytes, because text that is not ASCII cannot be compared; all secrets, so that the time says nothing.
    presented = given.encode("utf-8", "backslashreplace")
    matches = [hmac.compare_digest(presented, sign(signed, secret).encode()) for secret in trust.secrets]
    if not any(matches):
        raise Refused(Refusal.WRONG_SIGNATURE)


def _mlflow_signature(signed: bytes, secret: str) -> str:
    return f"v1,{base64.b64encode(_hmac(signed, secret)).decode()}"


def _databricks_signature(signed: bytes, secret: str) -> str:
    return _hmac(signed, secret).hex()


def _hmac(signed: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), signed, "sha256")
