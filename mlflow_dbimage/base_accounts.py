"""The user `libraries`, as whom clusters install libraries: added to the account files of a system that lacks it.

As `useradd libraries && usermod -L libraries` would: the next free number, no password, no way to log in.
Source: passwd(5), shadow(5); the images of github.com/databricks/containers from 13.3 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlflow_dbimage.oci.image_files import ImageFile
from mlflow_dbimage.oci.tar import TarEntry, file_entry

USER = "libraries"
PASSWD, GROUP, SHADOW, GSHADOW = "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"
FILES = (PASSWD, GROUP, SHADOW, GSHADOW)

_FIRST, _LAST = 1000, 59999
#: The day, counted from 1970, on which all that we make was made.
_DAY = 3652


def with_user(files: Mapping[str, ImageFile]) -> tuple[TarEntry, ...]:
    """Return the account files that change, or nothing where the user is there or the system has no accounts.

    Args:
        files: Those of `FILES` that the system has.
    """
    if PASSWD not in files or GROUP not in files or USER in _names(files[PASSWD]):
        return ()
    number = _free(files[PASSWD], files[GROUP])
    lines = {
        PASSWD: f"{USER}:x:{number}:{number}::/home/{USER}:/bin/sh",
        GROUP: f"{USER}:x:{number}:",
        SHADOW: f"{USER}:!:{_DAY}:0:99999:7:::",
        GSHADOW: f"{USER}:!::",
    }
    return tuple(
        _entry(path, files[path], line)
        for path, line in lines.items()
        if path in files and USER not in _names(files[path])
    )


def _entry(path: str, file: ImageFile, line: str) -> TarEntry:
    data = file.data if file.data.endswith(b"\n") or not file.data else file.data + b"\n"
    entry = file_entry(path, data + line.encode() + b"\n", file.mode)
    return replace(entry, uid=file.uid, gid=file.gid)


def _names(file: ImageFile) -> set[str]:
    return {fields[0] for fields in _lines(file)}


def _free(passwd: ImageFile, group: ImageFile) -> int:
    taken = {fields[2] for file in (passwd, group) for fields in _lines(file) if len(fields) > 2}
    return next(number for number in range(_FIRST, _LAST) if str(number) not in taken)


def _lines(file: ImageFile) -> list[list[str]]:
    return [line.split(":") for line in file.data.decode(errors="replace").splitlines() if line.strip()]
