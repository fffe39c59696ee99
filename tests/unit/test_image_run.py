"""What a run asks of an image's scoring program, and what its end means."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, UsageError, VerificationError
from mlflow_dbimage.image_run import Ended, How, ScoreRequest, run
from mlflow_dbimage.oci.image import Image
from score_images import score_image

SUMMARY = "read 3 rows, scored 2, rejected 1, in 0.2 s"


class EndedRunner:
    """A runner whose program has always ended already."""

    how: How = "engine"
    remark = None

    def __init__(self, exit_code: int, messages: str) -> None:
        self._ended = Ended(exit_code=exit_code, messages=messages)

    def score(self, image: Image, request: ScoreRequest, report: Callable[[str], None]) -> Ended:
        return self._ended


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return score_image(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def request_(tmp_path: Path) -> ScoreRequest:
    (tmp_path / "in.csv").write_text("a\n1\n")
    return ScoreRequest(input=tmp_path / "in.csv", output=tmp_path / "out.csv")


def test_the_summary_is_read_among_what_the_model_wrote(image: Image, request_: ScoreRequest):
    done = run(image, request_, EndedRunner(0, f"warming up\n{SUMMARY}\nbye"))
    assert (done.how, done.rows, done.scored, done.rejected) == ("engine", 3, 2, 1)


@pytest.mark.parametrize(
    ("exit_code", "kind", "code"),
    [
        (2, UsageError, "bad-value"),
        (3, InputError, "scoring-input"),
        (4, VerificationError, "scoring-failed"),
        (5, ServiceError, "disk-failed"),
        (6, VerificationError, "scoring-failed"),
        (137, VerificationError, "scoring-failed"),
    ],
)
def test_exit_codes_become_errors(
    exit_code: int, kind: type[DbimageError], code: str, image: Image, request_: ScoreRequest
):
    with pytest.raises(kind) as caught:
        run(image, request_, EndedRunner(exit_code, "noise\nerror: first\nerror: it is so\nmore noise"))
    assert (caught.value.code, caught.value.message) == (code, "it is so")


def test_without_a_reason_the_last_lines_are_given(image: Image, request_: ScoreRequest):
    lines = "\n".join(f"line {number}" for number in range(20))
    with pytest.raises(VerificationError) as caught:
        run(image, request_, EndedRunner(139, lines))
    assert "ended with 139" in caught.value.message
    assert "line 19" in caught.value.message
    assert "line 14" not in caught.value.message


def test_success_without_a_summary_is_none(image: Image, request_: ScoreRequest):
    with pytest.raises(VerificationError):
        run(image, request_, EndedRunner(0, "hello"))


def test_an_input_that_is_not_there_starts_nothing(image: Image, tmp_path: Path):
    request = ScoreRequest(input=tmp_path / "none.csv", output=tmp_path / "out.csv")
    with pytest.raises(InputError, match="no such file"):
        run(image, request, EndedRunner(0, SUMMARY))


def test_arguments_name_the_programs_own_places():
    request = ScoreRequest(
        input=Path("in.csv"),
        output=Path("out"),
        keep=("id", 'a "b", c'),
        params={"limit": 3},
        rejects=Path("bad.jsonl"),
        output_format="jsonl",
    )
    places = {Path(name): f"/there/{name}" for name in ("in.csv", "out", "bad.jsonl")}
    arguments = request.arguments(places)
    assert arguments[:4] == ("--input", "/there/in.csv", "--output", "/there/out")
    kept = [value for name, value in itertools.pairwise(arguments) if name == "--keep"]
    assert [next(csv.reader([each])) for each in kept] == [["id"], ['a "b", c']]
    assert arguments[-6:] == (
        "--params",
        '{"limit": 3}',
        "--rejects",
        "/there/bad.jsonl",
        "--output-format",
        "jsonl",
    )
