"""What counts as a secret, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.secret_patterns import secrets_in

# In parts, so that scanners of this repository find none.
SECRETS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "an access key of AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "a token of Databricks": "dapi" + "0123456789abcdef" * 2,
    "a token of GitHub": "ghp_" + "a1B2" * 9,
    "a token of GitLab": "glpat-" + "a1B2" * 5,
    "a token of Slack": "xoxb-" + "123456789012-abcdefghijkl",
    "a token of PyPI": "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 20,
    "a token of Hugging Face": "hf_" + "aB" * 17,
    "a key of Google": "AIza" + "a1B2C" * 7,
    "a key of an Azure storage account": "AccountName=x;AccountKey=" + "a1B2" * 21 + "aa==;",
    "a signed URL of Azure storage": "https://x.blob.core.windows.net/c?sv=2022&sig=" + "a1B2" * 11 + "&se=1",
    "a JSON web token": "eyJ" + "hbGciOiJub25lIn0.eyJ" + "zdWIiOiJhZGEifQ.c2ln",
    "a URL with a password": "postgresql://ada:" + "engine1843@db.example/features",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_each_kind_is_found_and_only_named(kind: str):
    text = f"first line\nkey = '{SECRETS[kind]}'\n".encode()
    assert secrets_in(text) == secrets_in(text.decode()) == (kind,)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/path@2",
        "git+https://github.com/mlflow/mlflow@v2.9.2",
        "postgresql://ada:****@db.example/features",
        "https://${USER}:${PASSWORD}@index.example/simple",
        "sha256:" + "0123456789abcdef" * 4,
        "-----BEGIN CERTIFICATE-----\nMIIE",
        "the dapi of a client",
        "AKIA is a prefix",
        "mailto:ada@example.org",
        "eyJhbGciOiJub25lIn0",
        "no characters \ud800",
    ],
)
def test_what_only_looks_like_one_is_none(text: str):
    assert secrets_in(text) == ()


@given(st.binary(max_size=2000), st.sampled_from(sorted(SECRETS)), st.binary(max_size=2000))
def test_a_secret_is_found_among_any_bytes(before: bytes, kind: str, after: bytes):
    assert kind in secrets_in(before + b"\n" + SECRETS[kind].encode() + b"\n" + after)
