"""The user `libraries` is added as `useradd` would, once, and to the files that the system has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlflow_dbimage.base_accounts import FILES, GROUP, GSHADOW, PASSWD, SHADOW, with_user
from mlflow_dbimage.oci.image_files import ImageFile

ROOT = {
    PASSWD: b"root:x:0:0:root:/root:/bin/bash\n",
    GROUP: b"root:x:0:\nshadow:x:42:\n",
    SHADOW: b"root:*:19000:0:99999:7:::\n",
}


def files(changes: dict[str, bytes | None] | None = None) -> dict[str, ImageFile]:
    contents = {**ROOT, **(changes or {})}
    modes = {SHADOW: (0o640, 0, 42), GSHADOW: (0o640, 0, 42)}
    return {
        path: ImageFile(data=data, mode=mode, uid=uid, gid=gid)
        for path, data in contents.items()
        if data is not None
        for mode, uid, gid in [modes.get(path, (0o644, 0, 0))]
    }


def changed(changes: dict[str, bytes | None] | None = None) -> dict[str, bytes]:
    return {entry.path: entry.content().read() for entry in with_user(files(changes))}


def test_it_gets_a_locked_account_in_each_file() -> None:
    assert changed({GSHADOW: b"root:*::"}) == {
        PASSWD: ROOT[PASSWD] + b"libraries:x:1000:1000::/home/libraries:/bin/sh\n",
        GROUP: ROOT[GROUP] + b"libraries:x:1000:\n",
        SHADOW: ROOT[SHADOW] + b"libraries:!:3652:0:99999:7:::\n",
        GSHADOW: b"root:*::\nlibraries:!::\n",
    }


def test_owner_and_mode_stay() -> None:
    shadow = next(entry for entry in with_user(files()) if entry.path == SHADOW)
    assert (shadow.mode, shadow.uid, shadow.gid) == (0o640, 0, 42)


def test_the_number_is_free_as_user_and_as_group() -> None:
    taken = {
        PASSWD: b"root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh",
        GROUP: b"ada:x:1000:\ndocker:x:1001:\n",
    }
    assert b"\nlibraries:x:1002:1002:" in changed(taken)[PASSWD]


@pytest.mark.parametrize(
    "there", [{PASSWD: b"libraries:x:1000:1000::/home/libraries:/bin/sh\n"}, {PASSWD: None}, {GROUP: None}]
)
def test_nothing_changes_where_it_is_there_or_there_are_no_accounts(there: dict[str, bytes | None]) -> None:
    assert changed(there) == {}


@pytest.mark.skipif(shutil.which("useradd") is None, reason="needs useradd")
@pytest.mark.root
def test_it_is_what_useradd_makes(tmp_path: Path) -> None:
    before = {**ROOT, GSHADOW: b"root:*::\n"}
    defaults = b"PASS_MIN_DAYS 0\nPASS_MAX_DAYS 99999\nPASS_WARN_AGE 7\nUSERGROUPS_ENAB yes\n"
    for path, data in {**before, "etc/login.defs": defaults}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    for command in (
        ["useradd", "--no-create-home", "--user-group", "--shell", "/bin/sh", "libraries"],
        ["usermod", "-L", "libraries"],
    ):
        subprocess.run([*command, "--prefix", str(tmp_path)], check=True, capture_output=True)
    ours = changed(before)
    for path in FILES:
        theirs = (tmp_path / path).read_bytes()
        if path == SHADOW:  # but for the day
            theirs = b":".join([*theirs.split(b":")[:-7], b"3652", *theirs.split(b":")[-6:]])
        assert ours[path] == theirs, path
