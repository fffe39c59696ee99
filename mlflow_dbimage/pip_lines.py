"""Lines of pip's requirements files: taken apart, and held against the model's directory.

A line may name files: other requirement or constraint files, wheels, source trees. They are relative to the
model and must be in it, since what lies elsewhere is not the model's to give.
Source: pip's "Requirements File Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import InputError

_MAX_SIZE = 1 << 20
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_CONTINUED = re.compile(r"[ \t]*\\[ \t]*\r?\n[ \t]*")
_LISTS = r"-r|-c|--requirements?|--constraints?"
_FILE_OPTION = re.compile(rf"(?P<option>{_LISTS}|-e|--editable|-f|--find-links)(?:\s*=\s*|\s*)(?P<place>\S.*)")
_LIST_OPTION = re.compile(_LISTS)
_DIRECT = re.compile(r"[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*(?P<place>\S+).*")
_ARCHIVE = re.compile(r".*\.(?:whl|zip|tar|tgz|tar\.\w+)", re.IGNORECASE)
_ABSENT = "names a file that does not exist"
_PASSWORD = re.compile(r"://[^/\s@:]*:[^/\s@$]+@")


def split(text: str, origin: str) -> list[Requirement]:
    """Take one entry of a pip list apart: continued lines joined, comments and empty lines dropped."""
    lines = (_COMMENT.sub("", line).strip() for line in _CONTINUED.sub(" ", text).splitlines())
    return [Requirement(text=line, origin=origin) for line in lines if line]


def read(path: Path, name: str) -> list[Requirement]:
    """Read a requirements file.

    Args:
        path: Of the file.
        name: How to call it in origins.

    Raises:
        ValueError: It is too large or not UTF-8 text.
    """
    data = path.read_bytes()
    if len(data) > _MAX_SIZE:
        raise ValueError(f"it has {len(data):,} bytes, and {_MAX_SIZE:,} are the most that is read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text at byte {error.start}") from None
    found: list[Requirement] = []
    pending = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.rstrip().endswith("\\") and not line.lstrip().startswith("#"):
            pending += line.strip()[:-1].rstrip() + " "
            continue
        found += split(pending + line.strip(), f"{name}: line {number}")
        pending = ""
    return found + split(pending, f"{name}: its last line")


def check_files(directory: Path, lines: Iterable[Requirement]) -> None:
    """Refuse lines that name files outside the model, or files that it does not have; lists are followed.

    Raises:
        InputError: `model-unsafe`, or `model-environment-invalid`; with everything that is found.
    """
    outside, missing = file_problems(directory, lines)
    if outside or missing:
        raise _error(
            [f"{each} names a file outside the model" for each in outside],
            [each.replace(_ABSENT, "names a file that the model does not have") for each in missing],
        )


def file_problems(directory: Path, lines: Iterable[Requirement]) -> tuple[list[str], list[str]]:
    """Find lines that name files outside a directory, and such as cannot be read; lists are followed.

    Returns: the lines of the first kind, and of the second with what is wrong.
    """
    root = directory.resolve()
    outside: list[str] = []
    missing: list[str] = []
    seen: set[Path] = set()
    waiting = [(line, root) for line in lines]
    while waiting:
        line, base = waiting.pop(0)
        for option, place in _places(line.text):
            # pip reads what a list names relative to the list, and all else relative to where it runs.
            is_list = _LIST_OPTION.fullmatch(option) is not None
            path = ((base if is_list else root) / place).resolve()
            if not path.is_relative_to(root):
                outside.append(f"`{line.text}` ({line.origin})")
            elif not path.exists():
                missing.append(f"`{line.text}` ({line.origin}) {_ABSENT}")
            elif is_list and path not in seen:
                seen.add(path)
                waiting += [(each, path.parent) for each in _list(path, root, missing)]
    return outside, missing


def expanded(
    directory: Path, lines: Iterable[Requirement]
) -> tuple[tuple[Requirement, ...], tuple[Requirement, ...]]:
    """Put the lines of lists in the place of those that name them; return requirements, and constraints.

    Lists that `file_problems` would tell of are passed over.
    """
    root = directory.resolve()
    found: dict[bool, list[Requirement]] = {False: [], True: []}
    seen: set[Path] = set()
    waiting = [(line, root, False) for line in lines]
    while waiting:
        line, base, constrains = waiting.pop(0)
        option = _FILE_OPTION.fullmatch(line.text)
        if option is None or _LIST_OPTION.fullmatch(option["option"]) is None:
            found[constrains].append(line)
            continue
        constrains = constrains or option["option"].lstrip("-").startswith("c")
        for path in ((base / place).resolve() for _, place in _places(line.text)):
            if path.is_relative_to(root) and path.is_file() and path not in seen:
                seen.add(path)
                waiting[:0] = [(each, path.parent, constrains) for each in _list(path, root, [])]
    return tuple(found[False]), tuple(found[True])


def passwords(lines: Iterable[Requirement]) -> tuple[str, ...]:
    """Return where lines hold the password of a URL as plain text."""
    return tuple(line.origin for line in lines if _PASSWORD.search(line.text))


def _places(text: str) -> Iterator[tuple[str, str]]:
    """Yield the local path that a line names, with the option that names it."""
    option = _FILE_OPTION.fullmatch(text)
    direct = _DIRECT.fullmatch(text)
    if option is not None:
        place = option["place"].strip().strip("'\"")
    elif direct is not None:
        place = direct["place"]
    elif not text.startswith("-") and (text.startswith((".", "/", "file:")) or _ARCHIVE.match(text)):
        place = text.partition(";")[0].partition(" ")[0].strip()
    else:
        return
    place = re.sub(r"\[[\w,. -]*\]$", "", place.partition("#")[0])  # extras of a path
    parts = urlsplit(place)
    if parts.scheme == "file":
        yield option["option"] if option else "", unquote(parts.path)
    elif not parts.scheme:
        yield option["option"] if option else "", place


def _list(path: Path, root: Path, problems: list[str]) -> list[Requirement]:
    name = path.relative_to(root).as_posix()
    try:
        return read(path, name)
    except (OSError, ValueError) as error:
        problems.append(f"`{name}` cannot be read: {error}")
        return []


def _error(outside: list[str], missing: list[str]) -> InputError:
    problems = outside + missing
    code = "model-unsafe" if outside else "model-environment-invalid"
    listed = problems[0] if len(problems) == 1 else "\n" + "\n".join(f"  {each}" for each in problems)
    return InputError(
        code,
        f"the model's pip requirements cannot be installed: {listed}".replace(": \n", ":\n"),
        hint="log the model again with these files in it, as `code_paths` or `extra_files`",
    )
