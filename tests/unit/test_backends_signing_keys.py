"""Keys are opened from PEM files, by plugins for URIs, and refused with what is wrong; no secret is told."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from light_build import CLONE
from mlflow_dbimage.backends.signing_keys import GROUP, PASSWORD_VARIABLE, signing_key, verifying_key
from mlflow_dbimage.errors import InputError
from signing_samples import key_pair, openssl

CANARY = "canary-password-51c2"


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


PLUGIN = """
import os
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

class Key:
    def __init__(self, uri):
        self._how = uri.partition("://")[2]
        if self._how == "closed":
            raise OSError("the service is closed")
        with open(os.environ["EXAMPLE_KEY"], "rb") as file:
            self._key = serialization.load_pem_private_key(file.read(), None)
        self.public_pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data):
        if self._how == "silent":
            raise TimeoutError("no answer")
        return self._key.sign(b"x" * (self._how == "wrong") + data, ec.ECDSA(hashes.SHA256()))
"""
PROGRAM = """
import sys
from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.errors import DbimageError
try:
    sys.stdout.buffer.write(signing_key(sys.argv[1]).sign(b"data"))
except DbimageError as error:
    sys.exit(f"{error.code}: {error.message}")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin, as pip installs it, and its key."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "examplekms.py").write_text(PLUGIN)
    described = folder / "examplekms-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: examplekms\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[{GROUP}]\nexamplekms = examplekms:Key\n")
    key_pair(folder)
    return folder


def sign_by(installed: Path, uri: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([str(installed), str(CLONE)])
    surroundings = {**os.environ, "PYTHONPATH": path, "EXAMPLE_KEY": str(installed / "ecdsa.key")}
    command = [sys.executable, "-c", PROGRAM, uri]
    return subprocess.run(command, env=surroundings, capture_output=True, check=False)


def test_a_plugin_that_is_installed_signs(installed: Path, tmp_path: Path) -> None:
    done = sign_by(installed, "examplekms://keys/1")
    assert done.returncode == 0, done.stderr
    assert verifying_key(installed / "ecdsa.pub").verifies(done.stdout, b"data")


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("examplekms://closed", "signing-failed", "the plugin of `examplekms://` could not open its key: OSError"),
        ("examplekms://silent", "signing-failed", "the plugin of `examplekms://` could not sign: TimeoutError"),
        ("examplekms://wrong", "signing-failed", "what the service of the key signs is not verified"),
        ("otherkms://keys/1", "bad-value", "no plugin signs with keys of `otherkms://`; plugins"),
    ],
)
def test_what_plugins_do_wrong_is_told(installed: Path, uri: str, code: str, said: str) -> None:
    done = sign_by(installed, uri)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"{code}: {said}")
