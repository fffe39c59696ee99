"""Images run without an engine, from their unpacked layers."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.unpacked_env import UnpackedRunner, check_platform, unpack
from mlflow_dbimage.errors import InputError, MatchError, ServiceError, VerificationError
from mlflow_dbimage.image_run import ScoreRequest, run
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import RunConfig, append
from other_users import SECOND
from sandboxes import sandbox
from score_images import COPY, HEAD, record, score_image


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows, and more.csv"
    path.write_text("a\n1\n2\n")
    return path


def test_a_run_writes_the_output_and_says_how(tmp_path: Path, rows: Path):
    image = score_image(tmp_path / "blobs")
    request = ScoreRequest(input=rows, output=tmp_path / "new folder" / "scores.csv")
    done = run(image, request, UnpackedRunner(tmp_path / "unpacked", sandbox))
    assert (done.how, done.rows, done.scored, done.rejected) == ("unpacked", 2, 2, 0)
    assert request.output.read_text() == rows.read_text()
    assert os.listdir(request.output.parent) == ["scores.csv"]


def test_rejects_come_along(tmp_path: Path, rows: Path):
    script = COPY + 'echo "{}" > "$rejects"\n'
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv", rejects=tmp_path / "bad.jsonl")
    run(score_image(tmp_path / "blobs", script), request, UnpackedRunner(tmp_path / "unpacked", sandbox))
    assert (tmp_path / "bad.jsonl").read_text() == "{}\n"


def test_lines_are_reported_as_they_come(tmp_path: Path, rows: Path):
    script = HEAD + 'echo loading >&2\necho "error: row 2, column \\`a\\`: bad" >&2\nexit 3\n'
    heard = []
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv")
    with pytest.raises(InputError, match=r"^row 2, column `a`: bad") as caught:
        run(score_image(tmp_path / "b", script), request, UnpackedRunner(tmp_path / "u", sandbox), heard.append)
    assert caught.value.code == "scoring-input"
    assert heard == ["loading", "error: row 2, column `a`: bad"]
    assert not request.output.exists()


def test_a_failed_run_leaves_what_was_there(tmp_path: Path, rows: Path):
    output = tmp_path / "scores.csv"
    output.write_text("old")
    script = HEAD + 'echo half > "$output"\nexit 6\n'
    with pytest.raises(VerificationError, match="ended with 6 and gave no reason"):
        run(
            score_image(tmp_path / "b", script),
            ScoreRequest(input=rows, output=output),
            UnpackedRunner(tmp_path / "u", sandbox),
        )
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".dbimage-run-*"))


def test_the_program_gets_no_credentials(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("TZ", "UTC")
    script = HEAD + 'export > "$output"\necho "read 1 rows, scored 1, rejected 0, in 0.1 s" >&2\n'
    output = tmp_path / "environment"
    runner = UnpackedRunner(tmp_path / "u", sandbox)
    run(score_image(tmp_path / "b", script), ScoreRequest(input=rows, output=output), runner)
    names = {line.split()[1].split("=")[0] for line in output.read_text().splitlines()}
    assert names <= {"LANG", "PATH", "PWD", "OLDPWD", "TZ", "TMPDIR", "SHLVL", "_"}


def test_a_program_that_cannot_start_is_told_of(tmp_path: Path, rows: Path):
    image = score_image(tmp_path / "blobs", "#!/no/such/shell\n")
    with pytest.raises(VerificationError, match="No such file or directory"):
        run(
            image,
            ScoreRequest(input=rows, output=tmp_path / "scores.csv"),
            UnpackedRunner(tmp_path / "u", sandbox),
        )


@pytest.mark.sandbox
def test_the_program_sees_its_input_and_nothing_else(tmp_path: Path, rows: Path):
    (tmp_path / "secret").write_text("swordfish")
    script = f"cat {tmp_path}/secret /etc/shadow >&2\n(echo x > {tmp_path}/harm)\n(: > '{rows}')\nexit 0\n"
    heard: list[str] = []
    runner = UnpackedRunner(tmp_path / "u", sandbox)
    image = score_image(tmp_path / "b", COPY + script)
    run(image, ScoreRequest(input=rows, output=tmp_path / "scores.csv"), runner, heard.append)
    assert not [line for line in heard if "swordfish" in line or "root:" in line]
    assert not (tmp_path / "harm").exists()
    assert rows.read_text() == (tmp_path / "scores.csv").read_text() != ""


def test_part_files_may_be_links(tmp_path: Path, rows: Path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.csv").symlink_to(rows)
    script = HEAD + 'cp "$input/0.csv" "$output" && echo "read 2 rows, scored 2, rejected 0, in 0.1 s" >&2\n'
    request = ScoreRequest(input=tmp_path / "parts", output=tmp_path / "scores.csv")
    run(score_image(tmp_path / "b", script), request, UnpackedRunner(tmp_path / "u", sandbox))
    assert request.output.read_text() == rows.read_text()


@pytest.mark.parametrize("left", ['ln -s /etc/passwd "$output"', 'mkdir "$output"', 'echo > a; ln a "$output"'])
def test_a_result_that_is_no_plain_file_is_refused(tmp_path: Path, rows: Path, left: str):
    script = HEAD + left + '\necho "read 2 rows, scored 2, rejected 0, in 0.1 s" >&2\n'
    image = score_image(tmp_path / "b", script)
    request = ScoreRequest(input=rows, output=tmp_path / "scores.csv")
    with pytest.raises(VerificationError) as caught:
        run(image, request, UnpackedRunner(tmp_path / "u", sandbox))
    assert caught.value.code == "scoring-failed"
    assert not os.path.lexists(request.output)


def test_where_nothing_but_limits_confines_it_that_is_said(tmp_path: Path):
    assert "without a sandbox" in str(UnpackedRunner(tmp_path, lambda: Sandbox(confinement="limits")).remark)
    assert UnpackedRunner(tmp_path, lambda: Sandbox(confinement="namespaces")).remark is None


def test_only_layers_above_the_base_are_unpacked_and_only_once(tmp_path: Path):
    image = score_image(tmp_path / "blobs", files={"opt/dbimage/model/MLmodel": b"{}"})
    first = unpack(image, tmp_path / "unpacked")
    name = f"{image.digest.hex}-{os.getuid()}"
    assert first == tmp_path / "unpacked" / name
    assert sorted(os.listdir(first)) == ["opt"]
    program = first / "opt/dbimage/bin/score"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert program.stat().st_mtime == 315532801
    for blob in (tmp_path / "blobs").iterdir():
        blob.unlink()
    assert unpack(image, tmp_path / "unpacked") == first
    assert os.listdir(tmp_path / "unpacked") == [name]


@pytest.mark.root
def test_what_another_user_has_unpacked_is_not_run(tmp_path: Path):
    image = score_image(tmp_path / "blobs")
    os.chown(unpack(image, tmp_path / "unpacked"), SECOND, -1)
    with pytest.raises(ServiceError, match="is another user's") as caught:
        unpack(image, tmp_path / "unpacked")
    assert caught.value.code == "disk-failed"


def test_a_layer_that_was_changed_is_refused_and_nothing_stays(tmp_path: Path):
    image = score_image(tmp_path / "a")
    other = score_image(tmp_path / "b", script=HEAD)
    (tmp_path / "a" / image.layers[1].descriptor.digest.hex).write_bytes(
        (tmp_path / "b" / other.layers[1].descriptor.digest.hex).read_bytes()
    )
    with pytest.raises(VerificationError) as caught:
        unpack(image, tmp_path / "unpacked")
    assert caught.value.code == "digest-mismatch"
    assert os.listdir(tmp_path / "unpacked") == []


def test_foreign_images_are_refused(tmp_path: Path):
    image = append(score_image(tmp_path / "blobs"), [], RunConfig(labels={"dev.dbimage.record": "{}"}))
    with pytest.raises(InputError, match="no record of this project"):
        unpack(image, tmp_path / "unpacked")


def test_images_for_other_machines_are_refused():
    with pytest.raises(MatchError, match="linux/s390x"):
        check_platform(Platform("linux", "s390x"))


def test_an_environment_in_its_bases_python_does_not_run_without_it(tmp_path: Path, rows: Path):
    labels = replace(record(base_layers=1), env_layout="cluster").to_labels()
    image = append(score_image(tmp_path / "blobs"), [], RunConfig(labels=labels))
    with pytest.raises(ServiceError, match="in the Python of its base") as caught:
        run(
            image,
            ScoreRequest(input=rows, output=tmp_path / "out.csv"),
            UnpackedRunner(tmp_path / "unpacked", sandbox),
        )
    assert caught.value.code == "engine-failed"
