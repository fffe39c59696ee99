"""An image that was really built on a base that clusters take is one that they take; on another one it is not."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dcs_roots import Program, satisfying
from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, tiny_base
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.channel]

#: Of the Python that runs the tests, if there is one: the local channel has at least that.
RUNTIME = {(3, 10): "14.3-lts", (3, 12): "16.4-lts"}.get(sys.version_info[:2], "15.4-lts")
LIBC = "usr/lib/x86_64-linux-gnu/libc.so.6"


@pytest.fixture(scope="module")
def bench(conda_channel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench with a model of the runtime's Python, and a base that fulfils the contract."""
    place = tmp_path_factory.mktemp("place")
    root = satisfying(RUNTIME)
    # The Pythons of the local channel are those of this machine, and need its glibc.
    libc = re.sub(rb"version 2\.\d+", b"version 2.99", bytes(root.files[LIBC]))
    shell = {"usr/bin/sh": Program(b"what runs scripts")}
    image = replace(root, files={**root.files, **shell, LIBC: libc}).image(Compression.GZIP)
    Layout(place / "base").write_image(image)
    Layout(place / "base").set_tags({"v1": image.descriptor})
    model = light_model(place / "model")
    for path in (model / "MLmodel", model / "conda.yaml"):
        path.write_text(path.read_text().replace(platform.python_version(), f"{root.runtime.python_minor}.0"))
    greeting_wheel(place / "wheels")
    with serve(PackageIndex(directory=place / "wheels")) as index:
        settings = {
            "DBIMAGE_CHANNEL_MAP": f"conda-forge={conda_channel.url}",
            "DBIMAGE_BASE_IMAGE": f"oci:{place / 'base'}:v1",
            "DBIMAGE_RUNTIME": RUNTIME,
            "DBIMAGE_INDEX_URL": index.url,
        }
        yield Bench(folder=place / "bench", model=model, cache=place / "cache", settings=settings)


def test_an_image_on_a_right_base_breaks_no_rule(bench: Bench) -> None:
    receipt = bench.receipt("churn")
    done = bench.run("verify", "--static", "churn", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert (report["digest"], report["runtime"]) == (receipt["digest"], RUNTIME)
    findings = {each["rule"]: each for each in report["findings"]}
    assert [rule for rule, each in findings.items() if each["state"] != "found"] == []
    assert findings["scoring"]["detail"].startswith("layers: 1 of the base, ")
    assert findings["layer-count"]["detail"] == str(len(Layout(bench.target).image("churn").layers))


def test_the_same_model_on_a_wrong_base_does(bench: Bench) -> None:
    base = tiny_base(bench.folder / "tiny.tar")
    bench.receipt("wrong", "-C", f"base_image=rootfs:{base}")
    done = bench.run("verify", "--static", "wrong", "--json")
    assert done.returncode == 6, done.stdout
    broken = {each["rule"] for each in json.loads(done.stdout)["findings"] if each["state"] != "found"}
    assert {"system", "java", "bash", "python", "virtualenv", "pyspark-python"} <= broken
    assert "scoring" not in broken
