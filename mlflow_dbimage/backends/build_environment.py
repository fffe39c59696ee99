"""Where a source distribution is built: a virtual environment of its Python that holds what its build requires.

Nothing of it runs while it is made: it is written here, and its wheels are unpacked by uv.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from mlflow_dbimage.backends.uv_errors import error_of
from mlflow_dbimage.backends.uv_program import UvProgram, index_lines, platform_name
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.environment_solver import PipRequest

_SCRIPT_SIZE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEnvironment:
    """One such environment."""

    folder: Path
    python_minor: str

    @classmethod
    def make(cls, folder: Path, requires: Sequence[str], request: PipRequest, uv: UvProgram) -> BuildEnvironment:
        """Make an environment in a new folder, with the credentials of the indexes, which no build gets.

        Raises:
            MatchError: `unsolvable`, a requirement is none, or has no wheel.
            ServiceError: `index-failed`, `offline`, `program-failed`.
        """
        assert request.interpreter is not None
        made = cls(folder=folder, python_minor=request.python_minor)
        made.python.parent.mkdir(parents=True)
        made.python.symlink_to(request.interpreter)
        home = request.interpreter.parent
        settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {request.python}\n"
        (folder / "pyvenv.cfg").write_text(settings)
        made.site.mkdir(parents=True)
        if requires:
            made._install([_checked(line) for line in requires], request, uv)
        return made

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return self.folder / "lib" / f"python{self.python_minor}" / "site-packages"

    def _install(self, requires: Sequence[str], request: PipRequest, uv: UvProgram) -> None:
        arguments = ["pip", "install", "-r", "-", "--target", str(self.site), "--only-binary", ":all:"]
        # Our own Python, since uv asks the one that it is given: the environment's runs in the sandbox alone.
        arguments += ["--python", sys.executable, "--python-version", request.python]
        arguments += ["--python-platform", platform_name(request.platform.architecture, _glibc_minor())]
        as_of = (
            []
            if request.exclude_newer is None
            else [f"--exclude-newer={request.exclude_newer:%Y-%m-%dT%H:%M:%SZ}"]
        )
        text = "".join(f"{line}\n" for line in (*index_lines(request.access), *requires))
        result = uv.run([*arguments, *as_of], request.access, folder=self.folder, text=text)
        if result.code != 0 and as_of and "missing an upload date" in result.errors:
            result = uv.run(arguments, request.access, folder=self.folder, text=text)
        if result.code != 0:
            raise error_of(result.errors, replace(request, lines=()))
        self._take_scripts()

    def _take_scripts(self) -> None:
        """Put the scripts of what is installed where scripts are looked for, with a Python that finds it."""
        scripts = self.site / "bin"
        for script in scripts.iterdir() if scripts.is_dir() else ():
            if script.is_symlink() or not script.is_file() or script.name.startswith("python"):
                continue
            shutil.copy2(script, self.python.with_name(script.name))
            content = script.read_bytes() if script.stat().st_size < _SCRIPT_SIZE else b""
            if content.startswith(b"#!"):
                own = content.replace(sys.executable.encode(), str(self.python).encode())
                self.python.with_name(script.name).write_bytes(own)


def _glibc_minor() -> int:
    """Return the second number of this machine's glibc; of another C library that of the oldest."""
    library, version = platform.libc_ver()
    minor = version.partition(".")[2]
    return int(minor) if library == "glibc" and minor.isdigit() else 0


def _checked(line: str) -> str:
    """Refuse what uv would not read as the name of a distribution: an option, or a file of this machine."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        requirement = None
    if requirement is None or "\n" in line or not (requirement.url or "https:").startswith(("https:", "http:")):
        raise MatchError("unsolvable", f"a build requires {line!r}, which names no distribution")
    return line
