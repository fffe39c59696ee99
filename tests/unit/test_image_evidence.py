"""The evidence of an image lists all that is in it, and says nothing of when or where it was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_dbimage.backends.signing_keys import signing_key
from mlflow_dbimage.evidence.bill_of_materials import Package, system_purl
from mlflow_dbimage.image_evidence import Inside, Place, ProvenImage, attach, evidence_of
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.locking.locked_packages import CondaPackage, LockedWheel
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.model_reference import ModelOrigin
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.verification import VerificationReport, judge
from oci_samples import LINUX, small_image
from score_images import record
from signing_samples import key_pair

PYTHON = CondaPackage(
    name="python",
    version="3.11.7",
    build="h1_0",
    build_number=0,
    subdir="linux-64",
    file_name="python-3.11.7-h1_0.conda",
    sha256="1" * 64,
    size=1,
    channel="conda-forge",
    canonical_url="https://conda.example/conda-forge/linux-64/python-3.11.7-h1_0.conda",
    url="https://mirror.example/conda-forge/linux-64/python-3.11.7-h1_0.conda",
)
NUMPY = LockedWheel(
    name="numpy", version="1.26.4", file_name="numpy-1.26.4-py3-none-any.whl", sha256="2" * 64, size=1
)
BASH = Package(
    manager="system",
    name="bash",
    version="5",
    purl=system_purl("bash", "5", distribution="debian", release="12", architecture="amd64"),
)
INSIDE = Inside(
    system=(BASH,),
    locked=LockedEnv(platform=LINUX, python="3.11.7", conda=(PYTHON,), wheels=(NUMPY,)),
    licences={("pip", "numpy"): "BSD-3-Clause"},
    in_base={"numpy": "1.23.5", "pandas": "1.5.3"},
)


UNPROVEN = judge("none")


def proven(image: Image, report: VerificationReport = UNPROVEN) -> ProvenImage:
    return ProvenImage(
        image=image,
        record=record(base_layers=1),
        report=report,
        packages=INSIDE.packages,
        origin=ModelOrigin,
    )


def test_all_that_is_inside_is_listed_once() -> None:
    listed = [(each.manager, each.name, each.version) for each in INSIDE.packages()]
    assert sorted(listed) == [
        ("conda", "python", "3.11.7"),
        ("pip", "numpy", "1.26.4"),
        ("pip", "pandas", "1.5.3"),
        ("system", "bash", "5"),
    ]
    numpy = next(each for each in INSIDE.packages() if each.name == "numpy")
    assert (numpy.sha256, numpy.licence) == ("2" * 64, "BSD-3-Clause")


@pytest.mark.parametrize(("forms", "count"), [("cyclonedx", 1), ("spdx", 2), ("none", 0)])
def test_the_forms_of_the_bill_are_those_that_are_wanted(tmp_path: Path, forms: str, count: int) -> None:
    image = small_image(tmp_path)
    made = [evidence_of(proven(image), reference="h.io/churn", forms=forms) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0].bills) == count
    assert b"mirror.example" not in b"".join(bill for _, bill in made[0].bills)
    assert [each.predicate_type for each in made[0].statements] == ["https://slsa.dev/provenance/v1"]


def test_a_destination_that_keeps_nothing_is_told_of_where_it_matters(tmp_path: Path) -> None:
    image, place = proven(small_image(tmp_path)), Place(name="c", store=None)
    key = signing_key(str(key_pair(tmp_path)[0]))
    assert attach(image, place, "cyclonedx", None, SilentProgress()) == ()
    assert len(attach(image, place, "cyclonedx", key, SilentProgress())) == 1


def test_a_report_is_a_statement_of_its_own(tmp_path: Path) -> None:
    image = small_image(tmp_path)
    report = judge("static", static=[Check(name="layers", outcome="passed")])
    made = evidence_of(proven(image, report), reference="c", forms="none")
    assert made.statements[1] == report.to_statement("c", image.digest)
    assert json.loads(made.statements[0].to_bytes())["subject"][0]["digest"] == {"sha256": image.digest.hex}
