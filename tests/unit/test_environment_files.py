"""Environment files that are no model's: read safely, all problems told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.environment_files import read_file
from mlflow_dbimage.errors import InputError
from mlflow_dbimage.runtime_fit import Subject
from mlflow_dbimage.runtimes import Catalogue


def written(tmp_path: Path, name: str, text: str, **others: str) -> Path:
    for other, content in others.items():
        (tmp_path / other.replace("_DOT_", ".")).write_text(content)
    path = tmp_path / name
    path.write_text(text)
    return path


def problems(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert caught.value.code == "environment-file-invalid"
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def texts(subject: Subject) -> tuple[list[str], list[str]]:
    return [line.text for line in subject.conda], [line.text for line in subject.pip]


def test_a_conda_environment(tmp_path: Path) -> None:
    text = """\
name: churn
channels: [conda-forge]
dependencies:
- python=3.11
- numpy=1.23.5
- pip
- pip:
  - -r requirements.txt
  - -c limits.txt
  - pandas
"""
    path = written(tmp_path, "environment.yml", text, requirements_DOT_txt="six==1\n", limits_DOT_txt="six<2\n")
    subject = read_file(path)
    assert (subject.noun, subject.python, subject.python_range) == ("environment", "3.11", "")
    assert texts(subject) == (["numpy=1.23.5", "pip"], ["six==1", "pandas"])
    assert [line.text for line in subject.constraints] == ["six<2"]
    assert subject.conda[0].origin == "environment.yml: dependencies[1]"


@pytest.mark.parametrize(
    ("line", "python", "python_range"),
    [
        ("python=3.11.7", "3.11.7", ""),
        ("python>=3.10", None, ">=3.10"),
        ("python >=3.10,<3.12", None, "<3.12,>=3.10"),
        ("numpy", None, ""),
    ],
)
def test_its_python_may_be_a_range_or_none(
    tmp_path: Path, line: str, python: str | None, python_range: str
) -> None:
    subject = read_file(written(tmp_path, "env.yaml", f"dependencies: ['{line}']"))
    assert (subject.python, subject.python_range) == (python, python_range)


def test_requirements(tmp_path: Path) -> None:
    subject = read_file(
        written(tmp_path, "requirements.txt", "# ours\nnumpy==1.23.5 \\\n  --hash=sha256:0\n\nsix\n")
    )
    assert subject.python is None
    assert [line.text.split()[0] for line in subject.pip] == ["numpy==1.23.5", "six"]
    assert subject.pip[1].origin == "requirements.txt: line 5"


def test_a_lock_file(tmp_path: Path) -> None:
    text = """\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"
[[packages]]
name = "numpy"
version = "1.23.5"
[[packages]]
name = "tomli"
version = "2.0.1"
marker = "python_version < '3.11'"
[[packages]]
name = "vat-rules"
directory = {path = "../vat"}
"""
    subject = read_file(written(tmp_path, "pylock.toml", text))
    assert subject.python_range == ">=3.11"
    assert [line.text for line in subject.pip] == [
        "numpy==1.23.5",
        "tomli==2.0.1 ; python_version < '3.11'",
        "vat-rules @ file:elsewhere",
    ]
    assert read_file(written(tmp_path, "pylock.prod.toml", text)) == subject


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("environment.yml", "dependencies: [", ["at line"]),
        ("environment.yml", "- a", ["it is no table of fields"]),
        ("environment.yml", "a: !!python/object:os.system x", ["asks for an object"]),
        (
            "environment.yml",
            "dependencies: [python=x.y, [1], {npm: [a]}, {pip: [[1], -r gone.txt]}]",
            [
                "`dependencies[1]` is neither",
                "`dependencies[2]` is neither",
                "`pip[0]` is not a text",
                "`python=x.y` is no version",
                "names a file that does not exist",
            ],
        ),
        ("requirements.txt", "-r ../../etc/passwd\n-r gone.txt\n", ["outside the folder", "`-r gone.txt`"]),
        ("pylock.toml", "lock-version = = 1", ["line 1"]),
        ("pylock.toml", "lock-version = '2.0'", ["`lock-version` is `2.0`"]),
        (
            "pylock.toml",
            "lock-version='1.0'\nrequires-python='new'\npackages=[1, {name='a b'}, {name='c', version='x y'}, {}]",
            [
                "`requires-python` is no range",
                "`packages[0]`: it is no table",
                "`packages[1]`: `a b` is no name",
                "`packages[2]`: `x y` is no version",
                "`packages[3]`: its name",
            ],
        ),
        ("poetry.lock", "", ["is no environment file by its name"]),
        ("pyproject.toml", "", ["is no environment file by its name"]),
    ],
)
def test_all_problems_are_told(tmp_path: Path, name: str, text: str, told: list[str]) -> None:
    message = problems(written(tmp_path, name, text))
    for each in told:
        assert each in message


@pytest.mark.parametrize("name", ["requirements.txt", "pylock.toml", "environment.yml"])
def test_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert "UTF-8" in problems(tmp_path / name)


@pytest.mark.parametrize("name", ["requirements.txt", "pylock.toml", "environment.yml"])
def test_a_file_that_is_too_large(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"#" * (5 << 20))
    assert "are the most that is read" in problems(tmp_path / name)


def test_the_list_that_the_project_starts_from(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_bytes(Catalogue.load().conda_list("7.6-ml") or b"")
    subject = read_file(path)
    assert subject.python == "3.7.10"
    assert (len(subject.conda), len(subject.pip)) == (152, 27)
