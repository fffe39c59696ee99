"""Examples of the documentation: console blocks that a test types, and whose output it compares.

A block that a test runs stands under a comment `<!-- example: NAME -->`. Lines that begin with `$ ` are typed;
what follows each is its output, in which a line `...` stands for any lines. The first `cat` of a file that is not
there writes it: so an example brings what it needs, and people see it. `$?` is how the line before it ended.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"<!-- example: ([\w-]+) -->\n```console\n(.*?)```", re.S)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A console block: what is typed, and what is shown for each."""

    name: str
    steps: tuple[tuple[str, tuple[str, ...]], ...]


def examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a document."""
    for name, text in _BLOCK.findall(path.read_text(encoding="utf-8")):
        steps: list[tuple[str, list[str]]] = []
        for line in text.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        yield Example(name=name, steps=tuple((typed, tuple(shown)) for typed, shown in steps))


def play(example: Example, folder: Path, environment: Mapping[str, str]) -> int:
    """Type an example in a folder, and fail where something else is shown than the document says.

    Returns:
        How many lines were compared.
    """
    code = compared = 0
    for typed, shown in example.steps:
        wanted = re.fullmatch(r"cat (\S+)", typed)
        if wanted and not (folder / wanted[1]).exists():
            (folder / wanted[1]).write_text("\n".join(shown) + "\n", encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", f"(exit {code}); {typed}"],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        code = done.returncode
        pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in shown)
        assert re.fullmatch(pattern, done.stdout), f"`{typed}` says\n{done.stdout}and the document\n{shown}"
        compared += sum(line != "..." for line in shown)
    return compared
