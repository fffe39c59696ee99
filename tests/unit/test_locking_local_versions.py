"""Local versions in pip lines: which indexes they need, and what is said where one is missing."""

from __future__ import annotations

import pytest

from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locking.local_versions import explained, index_lines
from solving import lines

GPU = "https://mirror/cu117"
UNSOLVABLE = MatchError("unsolvable", "no versions", hint="change one")


@pytest.mark.parametrize(
    ("texts", "indexes", "urls"),
    [
        (("torch==1.13.1+cu117",), {"+cu117": GPU}, (GPU,)),
        (("torch==1.13.1+cu117", "torchvision===0.14.1+CU117"), {"cu117": GPU}, (GPU,)),
        (("torch==1.13.1+cpu",), {"+cu117": GPU}, ()),
        (("torch==1.13.1", "torch>=1", "-r more.txt", "./a.whl", "odd==1.x+cu117"), {"+cu117": GPU}, ()),
    ],
)
def test_each_label_brings_its_index_once(texts, indexes, urls) -> None:
    assert [line.text for line in index_lines(lines(*texts), indexes)] == [
        f"--extra-index-url {url}" for url in urls
    ]


def test_a_label_without_an_index_is_the_reason() -> None:
    asked = lines("torch==1.13.1+cu117", "numpy", "torchaudio==0.13.1+cpu")
    error = explained(UNSOLVABLE, asked, {"+cpu": GPU})
    assert error.code == "package-not-found"
    assert "conda.yaml: dependencies[0]: torch==1.13.1+cu117" in error.message
    assert "torchaudio" not in error.message
    assert "no versions" in error.message
    assert error.hint is not None
    assert "`+cu117`" in error.hint


@pytest.mark.parametrize(
    ("error", "text"),
    [(UNSOLVABLE, "torch==1.13.1"), (MatchError("ownership-conflict", "two"), "torch==1.13.1+cu117")],
)
def test_other_errors_are_left_as_they_are(error: MatchError, text: str) -> None:
    assert explained(error, lines(text), {}) is error
