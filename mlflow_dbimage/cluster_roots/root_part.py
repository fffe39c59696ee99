"""Which part of each layer the contract looks at: small enough to be kept for every layer that was ever read.

Nothing of a model is in it, so that all versions of a model in one environment have the same.
"""

from __future__ import annotations

import re

from mlflow_dbimage.cluster_roots.cluster_root import PACKAGES, is_wanted
from mlflow_dbimage.oci.inventory import LIBC, glibc_version
from mlflow_dbimage.oci.layer_part import PartRecorder
from mlflow_dbimage.oci.system_packages import STATUS

# What lies below these decides nothing, whatever it is.
_PASSED_OVER = re.compile(
    # of Python modules all but what says which distributions there are, and what else is asked of them
    r"(?:.*/)?(?:site|dist)-packages/(?![^/]+\.(?:dist|egg)-info/(?:METADATA|PKG-INFO)$|pyspark/__init__\.py$"
    r"|virtualenv/seed(?:/embed(?:/base_embed\.py)?)?$|virtualenv_support/[^/]+$)[^/]+/.+"
    r"|(?:.*/)?lib/python3(?:\.\d+)?/(?!(?:site|dist)-packages(?:/|$)).+"
    r"|(?:.*/)?(?:__pycache__|include|locale|man)/.+"
    r"|databricks/conda/(?:pkgs|share|ssl)/.+"
    r"|(?:usr/)?lib/[^/]+-linux-gnu/(?!libc(?:\.so\.6|-\d+\.\d+\.so)$).+"
    r"|(?:etc/ssl|usr/lib/terminfo|usr/share/(?:bug|ca-certificates|doc|i18n|icons|info|lintian|perl5?|zoneinfo))/.+"
    r"|var/(?:cache|lib/apt|lib/dpkg/info)/.+"
    r"|(?:dev|proc|sys)/.+"
)
# Of ours only programs are asked for.
_OURS = "opt/dbimage/"
_OUR_PROGRAMS = re.compile(r"opt/dbimage/(?:bin(?:/.+)?|env(?:/bin(?:/python[^/]*)?)?)")
# Most layers of ours have some of them, those of a model too.
_OUR_FOLDERS = frozenset({"opt", "opt/dbimage", "opt/dbimage/bin", "opt/dbimage/env", "opt/dbimage/env/bin"})
_PARAGRAPHS = re.compile(rb"\n[ \t]*\n")
_NEEDED = re.compile(rb"^Package:[ \t]*(?:%s)[ \t]*$" % "|".join(PACKAGES).encode(), re.MULTILINE)


def recorder() -> PartRecorder:
    """Return what notes the part of a layer from which `read_cluster_root` reads the same as from all of it."""
    return PartRecorder(is_listed, is_wanted, excerpt)


def is_listed(path: str, is_folder: bool) -> bool:
    """Whether a path may decide something in the root of an image."""
    if is_folder and path in _OUR_FOLDERS:
        return False
    if path.startswith(_OURS):
        return _OUR_PROGRAMS.fullmatch(path) is not None
    return _PASSED_OVER.fullmatch(path) is None


def excerpt(path: str, data: bytes) -> bytes:
    """Return what decides something of a file: of passwords, whether there is one."""
    if LIBC.fullmatch(path):
        return f"GNU C Library version {version}".encode() if (version := glibc_version(data)) else b""
    if STATUS.fullmatch(path):
        return b"\n\n".join(each for each in _PARAGRAPHS.split(data) if _NEEDED.search(each))
    if path in ("etc/passwd", "etc/shadow"):
        return b"\n".join(_without_secret(line) for line in data.splitlines() if b":" in line)
    return data


def _without_secret(line: bytes) -> bytes:
    name, secret, *_ = line.split(b":")
    return name + (b":!:" if secret.startswith((b"!", b"*")) else b":x:")
