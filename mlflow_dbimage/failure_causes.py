"""Why a model fails in its image, in one line: the cause behind an exception, not the exception.

What dynamic loaders, Python, and the libraries that models use say was read from real failures; the tests hold
each rule against the real text.
"""

from __future__ import annotations

import errno
import posixpath
import re
from collections.abc import Callable, Iterator

from mlflow_dbimage.check_report import CheckError, CheckReport, Raised

#: The Debian and Ubuntu packages of shared libraries that wheels and conda packages leave to the system.
PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libGLX.so.0": "libglx0",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libsndfile.so.1": "libsndfile1",
    "libatomic.so.1": "libatomic1",
    "libgfortran.so.5": "libgfortran5",
    "libquadmath.so.0": "libquadmath0",
    "libopenblas.so.0": "libopenblas0",
    "liblapack.so.3": "liblapack3",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libffi.so.8": "libffi8",
    "libz.so.1": "zlib1g",
    "libbz2.so.1.0": "libbz2-1.0",
    "liblzma.so.5": "liblzma5",
    "libsqlite3.so.0": "libsqlite3-0",
    "libexpat.so.1": "libexpat1",
    "libxml2.so.2": "libxml2",
    "libgeos_c.so.1": "libgeos-c1v5",
    "libpq.so.5": "libpq5",
    "libodbc.so.2": "unixodbc",
    "libtesseract.so.5": "libtesseract5",
    "libnuma.so.1": "libnuma1",
    "libaio.so.1": "libaio1",
    "libtbb.so.12": "libtbb12",
}

_NO_LIBRARY = re.compile(r"(\S+\.so[.\d]*): cannot open shared object file")
_OLD_LIBRARY = re.compile(r"version [`']([A-Z]+_[\d.]+)' not found(?: \(required by ([^)]+)\))?")
_NO_SYMBOL = re.compile(r"(\S+): undefined symbol: (\S+)")
_NO_NAME = re.compile(r"cannot import name '([^']+)' from (?:partially initialized module )?'([^']+)'")
#: What says that a file was made with another version of Python or of a library than reads it.
_OTHER_VERSION = re.compile(
    r"unsupported pickle protocol"
    r"|Can't get attribute '\w+' on <module"
    r"|may indicate binary incompatibility"
    r"|has an incompatible dtype"
    r"|compiled using NumPy 1\.x"
    r"|bad magic number"
    r"|code(?:\(\))? (?:expected at most|argument|takes at)"
)
_NETWORK_TYPES = frozenset(
    (
        "gaierror",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectTimeout",
        "ConnectError",
        "NewConnectionError",
        "NameResolutionError",
        "MaxRetryError",
        "EndpointConnectionError",
    )
)
_NETWORK_ERRNOS = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ECONNREFUSED))
_NETWORK_TEXT = re.compile(
    r"name resolution|Name or service not known|Network is unreachable|Max retries exceeded"
)


def cause_of(error: CheckError, report: CheckReport) -> str:
    """Name the cause of what ended a self-check, in one line; the exception itself where no cause is known."""
    return known_cause(error, report) or _otherwise(error)


def known_cause(error: CheckError, report: CheckReport) -> str | None:
    """Name the cause of what ended a self-check, if it is one that is known.

    The exceptions from which the last one came are looked at first: they are nearer to it.
    """
    for raised in reversed(error.chain):
        for rule in _RULES:
            found = rule(raised, report)
            if found is not None:
                return found
    return None


def cause_in_text(text: str) -> str | None:
    """Name the cause that one line of an error tells, such as the import error of a requirement."""
    raised = Raised(type=text.partition(":")[0], message=text)
    return next((found for rule in _TEXT_RULES for found in rule(raised)), None)


def _otherwise(error: CheckError) -> str:
    acts = {
        "import": "MLflow cannot be imported",
        "load": "the model does not load",
        "input": "the example does not fit the model's signature",
        "predict": "the model fails while predicting",
    }
    return f"{acts.get(error.stage, error.stage)}: {error}"


def _missing_library(raised: Raised) -> Iterator[str]:
    found = _NO_LIBRARY.search(raised.message)
    if found is not None:
        name = posixpath.basename(found[1])
        package = PACKAGES.get(name)
        has_it = f": Debian's package `{package}` has it" if package else ""
        yield f"the shared library `{name}` is missing{has_it}"


def _other_library(raised: Raised) -> Iterator[str]:
    old = _OLD_LIBRARY.search(raised.message)
    if old is not None:
        needer = f"`{posixpath.basename(old[2])}` needs" if old[2] else "it needs"
        yield f"version mismatch: {needer} `{old[1]}`, which the image's library is too old to have"
    symbol = _NO_SYMBOL.search(raised.message)
    if symbol is not None:
        yield f"version mismatch: `{posixpath.basename(symbol[1])}` finds no `{symbol[2]}` in its libraries"


def _missing_module(raised: Raised) -> Iterator[str]:
    found = re.search(r"No module named '([^']+)'", raised.message)
    if found is not None:
        yield f"the module `{found[1]}` is missing"


def _other_version(raised: Raised) -> Iterator[str]:
    name = _NO_NAME.search(raised.message)
    if name is not None:
        yield f"version mismatch: `{name[2]}` has no `{name[1]}`"
    elif _OTHER_VERSION.search(raised.message):
        yield f"version mismatch: {' '.join(raised.message.split())[:200]}"


#: Rules that need nothing but a text.
_TEXT_RULES: tuple[Callable[[Raised], Iterator[str]], ...] = (
    _missing_library,
    _other_library,
    _missing_module,
    _other_version,
)


def _by_text(raised: Raised, report: CheckReport) -> str | None:
    return next((found for rule in _TEXT_RULES for found in rule(raised)), None)


def _network(raised: Raised, report: CheckReport) -> str | None:
    said = raised.type in _NETWORK_TYPES or raised.errno in _NETWORK_ERRNOS or _NETWORK_TEXT.search(raised.message)
    if not said:
        return None
    return needs_network(report)


def needs_network(report: CheckReport) -> str:
    """Say that a model needs the network, and whom it asked."""
    hosts = ", ".join(f"`{host}`" for host in report.network[:3])
    return "the model needs the network" + (f": it asked for {hosts}" if hosts else "")


def _own_files(raised: Raised, report: CheckReport) -> str | None:
    path = raised.path
    if path is None or raised.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
        return None
    own = posixpath.normpath(posixpath.join(report.directory, path))
    inside = own.startswith(f"{report.directory}/") or own == report.directory
    name = posixpath.relpath(own, report.directory) if inside else path
    if raised.errno == errno.EROFS or (inside and name in report.writes):
        place = "its own directory" if inside else "a place that cannot be written in an image"
        return f"the model writes to {place}: `{name}`"
    if not inside:
        return None
    if raised.errno == errno.ENOENT:
        return f"the model's file `{name}` is missing"
    return f"the model's file `{name}` cannot be read by the user that scores"


def _memory(raised: Raised, report: CheckReport) -> str | None:
    return "the model needs more memory than it had" if raised.type == "MemoryError" else None


_RULES: tuple[Callable[[Raised, CheckReport], str | None], ...] = (_by_text, _own_files, _network, _memory)
