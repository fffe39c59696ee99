"""DSSE envelopes: what is signed is type and payload together, as the protocol's own example says."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.signing_keys import signing_key, verifying_key
from mlflow_dbimage.evidence.envelope import Envelope, pre_authentication_encoding, sign
from signing_samples import KINDS, key_pair, openssl


def test_what_is_signed_is_the_protocols_own_example() -> None:
    # dsse, protocol.md, "Test Vectors"
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_envelope_is_verified_by_its_key_alone(tmp_path: Path, kind: str) -> None:
    private, public = key_pair(tmp_path / "a", kind)
    _, other = key_pair(tmp_path / "b", kind)
    read = Envelope.from_bytes(sign("text/plain", b"payload", signing_key(str(private))).to_bytes())
    assert read.payload == b"payload"
    assert read.verified_by(verifying_key(public))
    assert not read.verified_by(verifying_key(other))
    assert not replace(read, payload=b"another").verified_by(verifying_key(public))
    assert not replace(read, payload_type="text/html").verified_by(verifying_key(public))
    assert not replace(read, signatures=()).verified_by(verifying_key(public))


def test_openssl_alone_checks_an_envelope(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    document = json.loads(sign("text/plain", b"payload", signing_key(str(private))).to_bytes())
    payload = base64.b64decode(document["payload"])
    (tmp_path / "signed").write_bytes(b"DSSEv1 10 text/plain %d %s" % (len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(document["signatures"][0]["sig"]))
    done = openssl("dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature", tmp_path / "signed")
    assert done.stdout == b"Verified OK\n"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"payloadType": "t", "payload": "*", "signatures": []}',
             b'{"payloadType": "t", "payload": "", "signatures": [{}]}',
             b'{"payloadType": "t", "payload": "", "signatures": 1}']
)  # fmt: skip
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Envelope.from_bytes(data)
