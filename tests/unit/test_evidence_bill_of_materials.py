"""Bills of materials: equal for equal contents, valid by the schemas of their formats, and read back."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_dbimage.evidence.bill_of_materials import (
    Contents,
    Package,
    conda_purl,
    cyclonedx,
    pip_purl,
    read_packages,
    spdx,
    system_purl,
)
from mlflow_dbimage.oci.digest import Digest

PACKAGES = (
    Package(
        manager="conda",
        name="python",
        version="3.11.7",
        purl=conda_purl("python", "3.11.7", build="h1_0", channel="conda-forge", subdir="linux-64"),
        sha256="1" * 64,
        licence="Python-2.0",
    ),
    Package(
        manager="pip",
        name="numpy",
        version="1.26.4",
        purl=pip_purl("numpy", "1.26.4"),
        sha256="2" * 64,
        licence="BSD-3-Clause AND MIT",
    ),
    Package(
        manager="system",
        name="bash",
        version="1:5.2.15-2+b2",
        purl=system_purl("bash", "1:5.2.15-2+b2", distribution="debian", release="12", architecture="amd64"),
    ),
    Package(manager="pip", name="odd", version="1", purl=pip_purl("odd", "1"), licence="BSD, see the file"),
)
CONTENTS = Contents(
    model_name="churn",
    model_version="3",
    model_uri="models:/churn/3",
    model_digest="sha256:" + "3" * 64,
    image=Digest.of(b"image"),
    packages=PACKAGES,
)


def test_purls_are_those_of_their_types() -> None:
    assert PACKAGES[0].purl == "pkg:conda/python@3.11.7?build=h1_0&channel=conda-forge&subdir=linux-64"
    assert PACKAGES[1].purl == "pkg:pypi/numpy@1.26.4"
    assert PACKAGES[2].purl == "pkg:deb/debian/bash@1:5.2.15-2%2Bb2?arch=amd64&distro=debian-12"


def test_a_mirror_does_not_show() -> None:
    purl = conda_purl("a", "1", build="0", channel="https://ann:canary@mirror.example/forge", subdir="noarch")
    assert purl == "pkg:conda/a@1?build=0&subdir=noarch"


@pytest.mark.parametrize("write", [cyclonedx, spdx])
def test_the_order_of_packages_does_not_show(write) -> None:
    shuffled = random.Random(0).sample(PACKAGES, len(PACKAGES))
    assert write(replace(CONTENTS, packages=tuple(shuffled)), "1.0") == write(CONTENTS, "1.0")
    assert write(CONTENTS, "1.0") != write(replace(CONTENTS, image=Digest.of(b"other")), "1.0")


def test_cyclonedx_is_valid_and_comes_back() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = cyclonedx(CONTENTS, "1.0")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    assert sorted(read_packages(bill), key=str) == sorted(PACKAGES, key=str)
    document = json.loads(bill)
    (model,) = [each for each in document["components"] if each["type"] == "machine-learning-model"]
    assert model["properties"] == [{"name": "mlflow:uri", "value": "models:/churn/3"}]
    assert document["metadata"]["timestamp"] == "1980-01-01T00:00:01+00:00"


def test_each_part_of_cyclonedx_has_a_reference_of_its_own_and_is_told_once() -> None:
    # Trivy keeps components by their reference: of two with one, it would look at one.
    document = json.loads(cyclonedx(CONTENTS, "1.0"))
    references = [each["bom-ref"] for each in document["components"]]
    assert len({*references, document["metadata"]["component"]["bom-ref"]}) == len(PACKAGES) + 2
    assert document["dependencies"] == [{"ref": "image", "dependsOn": sorted(references)}]
    assert cyclonedx(CONTENTS, "1.0").count(PACKAGES[0].purl.encode()) == 1


def test_a_bill_of_an_earlier_version_is_read() -> None:
    document = json.loads(cyclonedx(CONTENTS, "1.0"))
    for each in document["components"]:
        each["bom-ref"] = each.get("purl", "model")
        each["properties"] = [{"name": "dbimage:manager", "value": "pip"}]
        if each["name"] == "python":
            each["licenses"] = [{"license": {"id": "Python-2.0"}}]
    assert sorted(read_packages(json.dumps(document).encode()), key=str) == sorted(PACKAGES, key=str)


def test_spdx_is_valid() -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = JsonLikeDictParser().parse(json.loads(spdx(CONTENTS, "1.0")))
    assert validate_full_spdx_document(document) == []
    assert {each.name for each in document.packages} >= {"python", "numpy", "bash", "churn"}


names = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)


@settings(max_examples=30)
@given(st.lists(st.tuples(names, names, st.none() | st.text(min_size=1, max_size=20)), max_size=5))
def test_any_licence_survives(packages: list[tuple[str, str, str | None]]) -> None:
    made = tuple(
        Package(
            manager="pip",
            name=name,
            version=version,
            purl=pip_purl(name, version),
            licence=(licence or "").strip() or None,
        )
        for name, version, licence in {each[0]: each for each in packages}.values()
    )
    bill = cyclonedx(replace(CONTENTS, packages=made), "1.0")
    assert {each.name for each in read_packages(bill)} == {each.name for each in made}
    json.loads(spdx(replace(CONTENTS, packages=made), "1.0"))


@pytest.mark.parametrize(
    "bill",
    [
        b"",
        b"{}",
        b"[]",
        b'{"components": [{"purl": "pkg:pypi/a@1"}]}',
        b'{"components": [{"purl": "pkg:npm/a@1", "name": "a", "version": "1"}]}',
    ],
)
def test_what_is_no_bill_is_refused(bill: bytes) -> None:
    with pytest.raises(ValueError):
        read_packages(bill)
