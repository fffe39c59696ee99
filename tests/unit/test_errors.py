"""What programs and the operating system say of the disk, as our error."""

from __future__ import annotations

import errno

import pytest

from mlflow_dbimage.errors import ServiceError, disk_errors, said_of_disk


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "Read-only file system"])
def test_a_program_that_speaks_of_the_disk(words: str) -> None:
    error = said_of_disk(f"failed to fetch a\n  Caused by: failed to unpack `b`: {words} (os error 28)\nmore")
    assert error is not None
    assert (error.code, error.exit_code) == ("disk-failed", 5)
    assert error.message == f"cannot write: Caused by: failed to unpack `b`: {words} (os error 28)"
    assert error.hint is not None


def test_a_program_that_speaks_of_something_else() -> None:
    assert said_of_disk("failed to fetch a\n  Caused by: 404") is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_the_operating_system_speaks_of_the_disk(number: int) -> None:
    with pytest.raises(ServiceError) as caught, disk_errors():
        raise OSError(number, "words", "/a/file")
    assert caught.value.code == "disk-failed"
    assert "/a/file" in caught.value.message


def test_what_is_not_of_the_disk_passes() -> None:
    with pytest.raises(FileNotFoundError), disk_errors():
        raise FileNotFoundError(errno.ENOENT, "words", "/a/file")
