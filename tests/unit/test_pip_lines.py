"""Pip lines: taken apart with their origins, and held against the model's directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.pip_lines import check_files, passwords, read, split


def lines(*texts: str) -> list[Requirement]:
    return [Requirement(text=text, origin=f"conda.yaml: {number}") for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("entry", "texts"),
    [
        ("numpy==1.0", ["numpy==1.0"]),
        ("  numpy==1.0  # pinned", ["numpy==1.0"]),
        ("# Original requirements", []),
        ("numpy==1.0 \\\n  --hash=sha256:00", ["numpy==1.0 --hash=sha256:00"]),
        ("a==1\nb==2", ["a==1", "b==2"]),
        ("git+https://h.io/x.git@v1#egg=x", ["git+https://h.io/x.git@v1#egg=x"]),
    ],
)
def test_an_entry_is_taken_apart(entry: str, texts: list[str]) -> None:
    assert [line.text for line in split(entry, "here")] == texts
    assert all(line.origin == "here" for line in split(entry, "here"))


def test_a_file_is_read_with_the_line_that_each_ends_on(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(
        b"\xef\xbb\xbf# first\r\nnumpy==1.0 \\\r\n  --hash=sha256:00\r\n\r\npandas # second\r\nlast \\"
    )
    assert [(line.text, line.origin) for line in read(path, "requirements.txt")] == [
        ("numpy==1.0 --hash=sha256:00", "requirements.txt: line 3"),
        ("pandas", "requirements.txt: line 5"),
        ("last", "requirements.txt: its last line"),
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes(b"numpy\xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        read(tmp_path / "r.txt", "r.txt")
    (tmp_path / "r.txt").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ValueError, match="are the most"):
        read(tmp_path / "r.txt", "r.txt")


def test_files_that_the_model_has_are_accepted(tmp_path: Path) -> None:
    model = tmp_path / "m"
    (model / "wheels").mkdir(parents=True)
    (model / "code").mkdir()
    for name in ("wheels/x-1-py3-none-any.whl", "code/y.tar.gz", "code/more.txt", "constraints.txt"):
        (model / name).write_text("")
    (model / "requirements.txt").write_text("-c constraints.txt\n-r code/more.txt\nwheels/x-1-py3-none-any.whl\n")
    check_files(
        model,
        lines(
            "numpy==1.0",
            "pandas>=1 ; python_version < '3.9'",
            "wheels/x-1-py3-none-any.whl",
            "./code/y.tar.gz[extra] ; python_version > '3'",
            "x @ file:wheels/x-1-py3-none-any.whl",
            "-c constraints.txt",
            "--constraint=constraints.txt",
            "-r requirements.txt",
            "-e ./code",
            "--find-links wheels/",
            "--find-links https://h.io/wheels/",
            "--extra-index-url https://h.io/simple",
            "--no-binary :all:",
            "x @ https://h.io/x-1.zip",
            "https://h.io/x-1.whl",
            "git+ssh://git@h.io/x.git#egg=x",
            "-e git+https://h.io/x.git#egg=x",
        ),
    )


def test_everything_outside_or_missing_is_told_at_once_with_its_origin(tmp_path: Path) -> None:
    model = tmp_path / "m"
    (model / "lists").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("")
    (model / "link.txt").symlink_to(tmp_path / "outside.txt")
    (model / "lists" / "one.txt").write_text("-r two.txt\n")
    (model / "lists" / "two.txt").write_text("-r one.txt\n\n-c ../../outside.txt\n")
    with pytest.raises(InputError) as caught:
        check_files(
            model,
            lines(
                "../x-1-py3-none-any.whl",
                "x @ file:///home/ann/x.whl",
                "-r lists/one.txt",
                "-c link.txt",
                "gone.whl",
            ),
        )
    assert caught.value.code == "model-unsafe"
    assert caught.value.message.splitlines() == [
        "the model's pip requirements cannot be installed:",
        "  `../x-1-py3-none-any.whl` (conda.yaml: 0) names a file outside the model",
        "  `x @ file:///home/ann/x.whl` (conda.yaml: 1) names a file outside the model",
        "  `-c link.txt` (conda.yaml: 3) names a file outside the model",
        "  `-c ../../outside.txt` (lists/two.txt: line 3) names a file outside the model",
        "  `gone.whl` (conda.yaml: 4) names a file that the model does not have",
    ]


def test_a_file_that_is_only_missing_is_no_danger(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_files(tmp_path, lines("-r gone.txt"))
    assert caught.value.code == "model-environment-invalid"
    assert caught.value.message == (
        "the model's pip requirements cannot be installed:"
        " `-r gone.txt` (conda.yaml: 0) names a file that the model does not have"
    )


def test_passwords_are_found_where_they_are_plain_text() -> None:
    found = passwords(
        lines(
            "--extra-index-url https://ann:hunter2@h.io/simple",
            "--extra-index-url https://ann:${TOKEN}@h.io/simple",
            "x @ https://h.io/x.whl",
            "git+ssh://git@h.io/x.git",
        )
    )
    assert found == ("conda.yaml: 0",)
