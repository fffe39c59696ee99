"""uv in the sandbox, for what cannot be resolved without running the code of a source distribution.

It has the network, since what it looks up next is not known before. Its cache is its own: what is kept must not be
written by such code.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_dbimage.backends.credentials_in_urls import scrubbed, secrets_of
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.uv_program import UvProgram, UvResult, all_indexes, uv_binary, uv_environment
from mlflow_dbimage.locking.environment_solver import PipRequest

# What reaching an index takes: names and certificates.
_NETWORK = (
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_NAMED = ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_CONFIG_FILE")
_MOST_OUTPUT = 64 << 20


class ConfinedUv:
    """Runs uv so.

    Args:
        uv: Whose cache is used where there may be no network.
        sandbox: Gives what runs it.
    """

    def __init__(self, uv: UvProgram, sandbox: Callable[[], Sandbox]) -> None:
        self._uv = uv
        self._sandbox = sandbox

    def run(
        self, arguments: Sequence[str], request: PipRequest, *, folder: Path, place: Path, text: str
    ) -> UvResult:
        """Run uv to its end, with the request's own Python.

        Args:
            arguments: Without credentials.
            request: What is resolved.
            folder: Files that the arguments name; uv may write to it.
            place: The working folder, which a model's own source is built in.
            text: Standard input.

        Raises:
            InputError: `model-stopped`, it used more than it may.
            ServiceError: `program-failed`, it cannot be started.
        """
        assert request.interpreter is not None
        offline = request.access.offline
        with tempfile.TemporaryDirectory(dir=self._uv.cache.parent, prefix="confined-") as made:
            scratch = Path(made)
            if offline:
                shutil.copytree(self._uv.cache, scratch / "cache", symlinks=True)
                (scratch / "cache" / "builds-v0").unlink(missing_ok=True)
            environment = uv_environment(scratch / "cache", home=scratch)
            own = ["--directory", str(place), "--python", str(request.interpreter)]
            ended = self._sandbox().run(
                [str(uv_binary()), *arguments, *own, *(["--offline"] if offline else [])],
                scratch=scratch,
                environment=environment | {"TMPDIR": str(scratch)},
                readable=[*_readable(request, environment)],
                writable=[folder] if place == folder else [folder, place],
                text=text,
                network=not offline,
                most_output=_MOST_OUTPUT,
            )
        secrets = secrets_of((*request.access.index_urls, *all_indexes(request.access)))
        output = ended.output.decode(errors="replace")
        return UvResult(code=ended.code, output=output, errors=scrubbed(ended.errors, secrets))


def _readable(request: PipRequest, environment: dict[str, str]) -> Iterator[Path]:
    assert request.interpreter is not None
    yield from (uv_binary(), request.interpreter.parent.parent)
    yield from map(Path, _NETWORK)
    yield from (Path(environment[name]) for name in _NAMED if name in environment)
    for url in map(urlsplit, all_indexes(request.access)):  # not those that the model's lines name
        if url.scheme == "file":
            yield Path(unquote(url.path))
