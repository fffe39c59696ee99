"""Other users of this machine, with whom folders are shared. Only root can be them."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST, SECOND = 65533, 65532
_GROUP = 65534


@contextmanager
def folder_of_group() -> Iterator[Path]:
    """Give a folder that both may write to: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="dbimage-shared-") as folder:
        os.chown(folder, 0, _GROUP)
        Path(folder).chmod(0o2775)
        yield Path(folder)


def as_user(user: int, umask: int, work: Callable[[], None]) -> None:
    """Do something as another user of the group, in a process of its own."""
    process = os.fork()
    if process == 0:
        try:
            os.umask(umask)
            os.setgroups([])
            os.setgid(_GROUP)
            os.setuid(user)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
