"""Keys are opened from PEM files, by plugins for URIs, and refused with what is wrong; no secret is told."""

from __future__ import annotations

import traceback
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from mlflow_dbimage.backends import signing_keys
from mlflow_dbimage.backends.signing_keys import PASSWORD_VARIABLE, signing_key, verifying_key
from mlflow_dbimage.errors import InputError, UsageError
from signing_samples import key_pair, openssl

CANARY = "canary-password-51c2"


class Remote:
    """A key of a service, as a plugin opens it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri


def test_the_public_part_is_as_openssl_writes_it(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    assert signing_key(str(private)).public_pem == public.read_bytes()


def test_a_password_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = key_pair(tmp_path, password=CANARY)
    monkeypatch.setenv(PASSWORD_VARIABLE, CANARY)
    assert verifying_key(public).verifies(signing_key(str(private)).sign(b"data"), b"data")
    monkeypatch.setenv(PASSWORD_VARIABLE, f"{CANARY}-wrong")
    with pytest.raises(InputError, match="cannot be opened|can be opened") as caught:
        signing_key(str(private))
    assert caught.value.hint is not None
    assert PASSWORD_VARIABLE in caught.value.hint
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    (tmp_path / "text").write_text("no key")
    openssl("genpkey", "-algorithm", "X25519", "-out", tmp_path / "agreement.key")
    for path in (public, tmp_path / "text", tmp_path / "agreement.key", tmp_path / "missing", tmp_path):
        with pytest.raises(InputError) as caught:
            signing_key(str(path))
        assert caught.value.code == "bad-key"
        assert str(path) in caught.value.message
    for path in (private, tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(InputError) as caught:
            verifying_key(path)
        assert caught.value.code == "bad-key"


def test_uris_are_opened_by_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("examplekms", f"{__name__}:Remote", signing_keys.GROUP)
    monkeypatch.setattr(signing_keys, "entry_points", lambda group: EntryPoints([plugin]))
    opened = signing_key("examplekms://keys/1")
    assert vars(opened) == {"uri": "examplekms://keys/1"}
    with pytest.raises(UsageError, match="`otherkms://`; plugins that are installed take: `examplekms`"):
        signing_key("otherkms://keys/1")
