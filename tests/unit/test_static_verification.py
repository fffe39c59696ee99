"""Which image, which runtime, what is read once, and what comes of the findings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dcs_roots import CATALOGUE, satisfying
from mlflow_dbimage import static_verification
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_cache import BuildCache
from mlflow_dbimage.destinations.deployment import TagScheme
from mlflow_dbimage.destinations.layout import LayoutDestination
from mlflow_dbimage.errors import DbimageError, VerificationError
from mlflow_dbimage.image_location import ImageLocation
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import Progress, SilentProgress
from mlflow_dbimage.static_verification import StaticReport, VerificationTools, open_image
from oci_samples import without_blobs
from proof_tools import proof_tools
from unit.test_base_record import RECORD as BASE_RECORD
from unit.test_build_receipt import RECORD


class OneImage:
    """Opens the same image, wherever one is said to be, and remembers what was asked for."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.asked: list[tuple[str, str]] = []

    def open(self, location: ImageLocation, platform: Platform, progress: Progress) -> Image:
        self.asked.append((str(location), str(platform)))
        return self.image


def tools(image: Image, folder: Path) -> VerificationTools:
    return VerificationTools(
        bases=OneImage(image),
        destination=lambda: LayoutDestination(folder / "images", TagScheme(named=True)),
        catalogue=CATALOGUE,
        cache=BuildCache(folder / "cache"),
        proof=proof_tools(BuildCache(folder / "cache")),
        progress=SilentProgress(),
    )


def verify(name: str, runtime: str | None, here: VerificationTools) -> StaticReport:
    return static_verification.verify(name, open_image(name, here), runtime, here)


@pytest.fixture(scope="module")
def image() -> Image:
    return satisfying("15.4-lts").image(Compression.GZIP)


def test_a_place_is_opened_for_the_platform_of_clusters(image: Image, tmp_path: Path) -> None:
    here = tools(image, tmp_path)
    report = verify("oci:some/layout", "15.4-lts", here)
    assert here.bases.asked == [("oci:some/layout", "linux/amd64")]  # type: ignore[attr-defined]
    assert (report.image, report.digest) == ("oci:some/layout", str(image.digest))
    assert (report.runtime, report.spark_version) == ("15.4-lts", "15.4.x-scala2.12")
    assert (report.errors, report.error) == ((), None)


def test_a_word_is_the_name_of_a_deployment(tmp_path: Path) -> None:
    root = replace(satisfying("15.4-lts"), labels=RECORD.to_labels())
    image = root.image(Compression.GZIP)
    here = tools(image, tmp_path)
    destination = here.destination()
    destination.write("main.churn", image, SilentProgress())
    destination.set_name("main.churn", image, RECORD)
    report = verify("main.churn", None, here)
    assert report.runtime == "15.4-lts"
    assert [each.rule for each in report.errors] == ["scoring", "launcher"]


def test_a_name_that_is_not_deployed_is_told_how_to_name_places(image: Image, tmp_path: Path) -> None:
    with pytest.raises(DbimageError, match="no deployment `ubuntu`") as caught:
        verify("ubuntu", "15.4-lts", tools(image, tmp_path))
    assert caught.value.code == "not-deployed"
    assert "`docker.io/library/ubuntu:22.04`" in str(caught.value.hint)


def test_a_golden_base_says_for_which_runtime_it_was_made(tmp_path: Path) -> None:
    record: BaseRecord = BASE_RECORD
    image = replace(satisfying("15.4-lts"), labels=record.to_labels()).image(Compression.GZIP)
    report = verify("oci:base", None, tools(image, tmp_path))
    assert report.runtime == record.runtime == "15.4-lts-ml"
    assert report.spark_version == "15.4.x-scala2.12"
    assert [each.rule for each in report.findings if each.state != "found"] == ["ml-runtime"]


@pytest.mark.parametrize(
    ("runtime", "code"), [(None, "bad-value"), ("15.5-lts", "unknown-runtime"), ("spark", "unknown-runtime")]
)
def test_without_a_runtime_that_is_known_nothing_is_read(
    image: Image, runtime: str | None, code: str, tmp_path: Path
) -> None:
    with pytest.raises(DbimageError) as caught:
        verify("oci:x", runtime, tools(without_blobs(image), tmp_path))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"{}",
        b'{"os": "linux", "architecture": "amd64", "config": {"Env": [1]}}',
        b'{"os": "linux", "architecture": "amd64", "config": {"Labels": {"a": 1}}}',
        b'{"os": "linux", "architecture": "amd64", "config": [1]}',
        b'{"os": "linux", "architecture": "amd64", "config": {"Entrypoint": 1}}',
        b'{"os": "linux", "architecture": "amd64", "history": ["x"]}',
    ],
)
def test_a_config_of_another_form_is_refused(image: Image, config: bytes, tmp_path: Path) -> None:
    with pytest.raises(DbimageError, match="the config of the image `oci:x` is malformed") as caught:
        verify("oci:x", "15.4-lts", tools(replace(image, config=config), tmp_path))
    assert caught.value.code == "base-invalid"


def test_an_image_is_read_once(image: Image, tmp_path: Path) -> None:
    first = verify("oci:x", "15.4-lts", tools(image, tmp_path))
    again = tools(without_blobs(image), tmp_path)
    assert verify("oci:elsewhere", "15.4-lts", again).findings == first.findings
    other = verify("oci:x", "16.4-lts", again)
    assert {"system", "java", "python-version"} <= {each.rule for each in other.findings if each.state == "wrong"}
    changed = satisfying("15.4-lts").setting(PATH="/opt/bin").image(Compression.GZIP)
    elsewhere = verify("oci:x", "15.4-lts", tools(without_blobs(changed), tmp_path))
    assert "/usr/bin/java" not in str(elsewhere.findings)


def test_what_is_broken_is_one_error_that_names_it_all(image: Image, tmp_path: Path) -> None:
    report = verify("oci:x", "17.3-lts", tools(image, tmp_path))
    error = report.error
    assert isinstance(error, VerificationError)
    assert (error.code, error.exit_code) == ("contract-broken", 6)
    assert "clusters of `17.3.x-scala2.13` are not expected to work with `oci:x`: " in error.message
    for finding in report.errors:
        assert f"{finding.rule}: {finding.detail}" in error.message


def test_the_json_form_has_reason_and_mend_where_something_is_to_mend(image: Image, tmp_path: Path) -> None:
    data = verify("oci:x", "17.3-lts", tools(image, tmp_path)).to_dict()
    assert data["fulfilled"] is False
    by_rule = {each["rule"]: each for each in json.loads(json.dumps(data))["findings"]}
    assert by_rule["java"] == {
        "rule": "java",
        "state": "wrong",
        "severity": "error",
        "demands": "`java` on PATH is of the runtime's major version",
        "detail": "1.8.0_412 (`/usr/lib/jvm/zulu8-ca-amd64/jre/bin/java`)",
        "reason": by_rule["java"]["reason"],
        "mend": "install JDK 17 and make it the default (`update-alternatives --set java ...`)",
    }
    assert "mend" not in by_rule["bash"]
