"""Files of a model: what belongs to it, what is unsafe, and a digest of names, sizes and contents alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.model_files import digest_of, read_files, safe_paths
from plain_model import write_model


def digest(directory: Path) -> str:
    return str(digest_of(read_files(directory)))


def test_files_are_listed_in_bytewise_order_with_size_mode_and_digest(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", code__run_DOT_sh="#!/bin/sh\n", Zed="z")
    (model / "code" / "run.sh").chmod(0o700)
    (model / "Zed").chmod(0o600)
    files = {file.path: file for file in read_files(model)}
    assert list(files) == ["MLmodel", "Zed", "code/run.sh", "conda.yaml", "python_model.pkl"]
    assert files["code/run.sh"].mode == 0o755
    assert files["Zed"].mode == 0o644
    assert files["Zed"].size == 1
    assert files["Zed"].digest.hex == "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06"


def test_the_digest_is_that_of_names_sizes_and_contents(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a", notes_DOT_txt="one")
    second = write_model(tmp_path / "elsewhere" / "b", notes_DOT_txt="one")
    (second / "notes.txt").chmod(0o600)
    os.utime(second / "notes.txt", (1, 1))
    (second / "empty").mkdir()
    assert digest(first) == digest(second)
    (second / "notes.txt").write_text("two")
    assert digest(first) != digest(second)
    (second / "notes.txt").write_text("one")
    (second / "notes.txt").rename(second / "note.txt")
    assert digest(first) != digest(second)


def test_the_digest_of_a_model_stays_the_same_forever(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    assert digest(tmp_path) == "sha256:0601135b5b21fa39c15f79e9172f8d44980c226d0883edc2054f877b67bc3ea8"


def test_what_downloads_and_loading_leave_beside_a_model_is_no_part_of_it(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", code__rules_DOT_py="")
    before = digest(model)
    (model / "registered_model_meta").write_text("model_name: churn\n")
    (model / "_databricks").mkdir()
    (model / "_databricks" / "x").write_text("x")
    (model / "code" / "__pycache__").mkdir()
    (model / "code" / "__pycache__" / "rules.cpython-311.pyc").write_bytes(b"x")
    assert digest(model) == before
    (model / "code" / "registered_model_meta").write_text("a file of the model\n")
    assert "code/registered_model_meta" in safe_paths(model)


def test_links_that_stay_inside_are_files(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m")
    (model / "alias.pkl").symlink_to("python_model.pkl")
    (model / "absolute.pkl").symlink_to(model / "python_model.pkl")
    files = {file.path: file for file in read_files(model)}
    assert files["alias.pkl"].digest == files["python_model.pkl"].digest
    assert files["absolute.pkl"].size == len(b"pickled")


def test_everything_unsafe_is_told_at_once(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", sub__dir__inner="x")
    (tmp_path / "outside").write_text("x")
    (model / "up").symlink_to("../outside")
    (model / "dangling").symlink_to("gone")
    (model / "round").symlink_to("round")
    (model / "folder").symlink_to("sub")
    (model / "sub" / ".wh.inner").write_text("x")
    (model / ".wh..wh..opq").mkdir()
    os.mkfifo(model / "pipe")
    (model / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(InputError) as caught:
        read_files(model)
    assert caught.value.code == "model-unsafe"
    lines = caught.value.message.splitlines()
    assert lines[0] == "the model cannot go into an image:"
    assert lines[1:] == [
        "  `.wh..wh..opq` has a name that deletes another file in an image",
        "  `caf\\xe9` has a name that is not UTF-8",
        "  `dangling` is a link to `gone`, which leads nowhere or out of the model",
        "  `folder` is a link to `sub`; only links to files can be packaged",
        "  `pipe` is neither a file nor a directory",
        "  `round` is a link to `round`, which leads nowhere or out of the model",
        "  `sub/.wh.inner` has a name that deletes another file in an image",
        "  `up` is a link to `../outside`, which leads out of the model",
    ]


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "m")
    monkeypatch.chdir(model)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("control")
        with pytest.raises(InputError, match="`control` is neither"):
            safe_paths(model)
