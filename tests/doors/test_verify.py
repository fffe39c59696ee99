"""`dbimage verify --static` on images in every place that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import typed
from dcs_roots import Root, index_of, satisfying
from doors.test_cli import dbimage, error_of
from mlflow_dbimage.dcs_contract import RULES
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import OCI_INDEX, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import write_archive
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.registry import Registry, Repository


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("DBIMAGE_CACHE_DIR", str(tmp_path / "cache"))


def written(root: Root, folder: Path, compression: Compression = Compression.GZIP) -> Image:
    image = root.image(compression)
    layout = Layout(folder)
    layout.write_image(image)
    layout.set_tags({"v1": image.descriptor})
    return image


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Return mark and detail of each rule in a table."""
    cells = (
        line.split(maxsplit=2) for line in text.splitlines() if line[:8].rstrip() in ("ok", "warning", "ERROR")
    )
    return {rule: (mark, detail) for mark, rule, detail in cells}


def test_an_image_that_fulfils_the_contract(tmp_path: Path):
    image = written(satisfying("15.4-lts"), tmp_path / "images")
    done = dbimage("verify", "--static", "oci:images:v1", "--runtime", "15.4-lts", by=typed)
    table = rows(done.stdout)
    assert set(table.values()) and {mark for mark, _ in table.values()} == {"ok"}
    wanted = {rule.id for rule in RULES if (15, 4) in rule.runtimes} - {"scoring", "recorded-runtime", "launcher"}
    assert set(table) == wanted
    assert str(image.digest) in done.stdout
    assert f"{len(wanted)} rules: 0 broken, 0 warnings; clusters are expected to work" in done.stdout
    assert "looking into `oci:images:v1`" in done.stderr
    assert "error" not in json.loads(
        dbimage("verify", "oci:images", "--runtime", "15.4.x-scala2.12", "--json").stdout
    )


def test_an_image_that_breaks_it_says_what_why_and_how_to_mend(tmp_path: Path):
    root = satisfying("15.4-lts").without("usr/bin/java").setting(DB_PASSWORD="hunter2")
    written(root, tmp_path / "images", Compression.ZSTD)
    done = dbimage("verify", "oci:images:v1", "--runtime", "15.4-lts", check=6)
    table = rows(done.stdout)
    assert table["java"] == ("ERROR", "missing: no `java` on PATH")
    assert table["compression"] == ("ERROR", "wrong: layers: 1 zstd")
    assert table["secrets"][0] == "warning"
    assert "reason: Spark's driver and executors run on the image's Java" in done.stdout
    assert "mend: install JDK 8 and make it the default" in done.stdout
    assert "java: no `java` on PATH" in done.stderr
    assert "hint: " in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_what_is_broken_is_one_json_document(tmp_path: Path):
    written(satisfying("15.4-lts").without("databricks/python3"), tmp_path / "images")
    done = dbimage("verify", "oci:images:v1", "--runtime", "15.4-lts", "--json", check=6)
    assert error_of(done)["code"] == "contract-broken"
    data = json.loads(done.stdout)
    assert not data["fulfilled"]
    assert [each["rule"] for each in data["findings"] if each["state"] != "found"] == ["python"]


def test_warnings_alone_are_no_failure(tmp_path: Path):
    written(satisfying("16.4-lts").setting(OPENSSL_FORCE_FIPS_MODE=None), tmp_path / "images")
    done = dbimage("verify", "oci:images:v1", "--runtime", "16.4-lts")
    assert rows(done.stdout)["fips"] == ("warning", "missing: OPENSSL_FORCE_FIPS_MODE not set")


def test_an_index_with_attestations_is_seen(tmp_path: Path):
    image = written(satisfying("15.4-lts"), tmp_path / "images")
    index = index_of(image, attestations=1)
    descriptor = Descriptor(media_type=OCI_INDEX, digest=Digest.of(index), size=len(index))
    (tmp_path / "images" / "blobs" / "sha256" / descriptor.digest.hex).write_bytes(index)
    Layout(tmp_path / "images").set_tags({"built": descriptor})
    table = rows(dbimage("verify", "oci:images:built", "--runtime", "15.4-lts").stdout)
    assert table["manifest"] == ("warning", "wrong: an index of 1 images and 1 attestations")


def test_archives_and_root_file_systems_are_read(tmp_path: Path):
    image = satisfying("9.1-lts").image(Compression.GZIP)
    with (tmp_path / "image.tar").open("wb") as out:
        write_archive(image, ("acme/base:9.1",), out)
    assert dbimage("verify", "docker-archive:image.tar", "--runtime", "9.1-lts").returncode == 0
    (tmp_path / "root.tar.gz").write_bytes(image.layers[0].open().read())
    # A root file system has no config: the variables of the image are not in it.
    done = dbimage("verify", "rootfs:root.tar.gz", "--runtime", "9.1-lts", check=6)
    assert [rule for rule, (mark, _) in rows(done.stdout).items() if mark != "ok"] == ["pyspark-python"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("oci:images:v1",), 2, "bad-value"),
        (("oci:images:v1", "--runtime", "15.5-lts"), 4, "unknown-runtime"),
        (("oci:images:v2", "--runtime", "15.4-lts"), 3, "base-not-found"),
        (("oci:nowhere", "--runtime", "15.4-lts"), 3, "base-not-found"),
        (("docker-archive:nothing.tar", "--runtime", "15.4-lts"), 3, "base-not-found"),
        (("https://acme.example/x", "--runtime", "15.4-lts"), 2, "bad-location"),
        (("churn", "--runtime", "15.4-lts"), 3, "not-deployed"),
    ],
)
def test_what_cannot_be_verified_is_refused(arguments, exit_code, code, tmp_path: Path):
    written(satisfying("15.4-lts"), tmp_path / "images")
    done = dbimage("verify", *arguments, "--json", "-t", "oci:deployments", check=exit_code)
    assert error_of(done)["code"] == code
    assert "Traceback" not in done.stderr


def test_a_damaged_layer_is_no_verdict(tmp_path: Path):
    image = written(satisfying("15.4-lts"), tmp_path / "images")
    blob = tmp_path / "images" / "blobs" / "sha256" / image.layers[0].descriptor.digest.hex
    blob.write_bytes(blob.read_bytes()[:-1])
    done = dbimage("verify", "oci:images:v1", "--runtime", "15.4-lts", "--json", check=None)
    assert error_of(done)["code"] in ("digest-mismatch", "base-invalid")
    assert list((tmp_path / "cache").rglob("cluster-roots/*.json")) == []


@pytest.mark.registry
def test_an_image_in_a_registry_is_read_where_it_is(registry):
    image = satisfying("13.3-lts").image(Compression.GZIP)
    here = Repository(Registry(registry.host), "acme/base")
    here.push(image)
    here.put_manifest("13.3", image.manifest, image.media_type)
    done = dbimage("verify", f"{registry.host}/acme/base:13.3", "--runtime", "13.3-lts", "--json")
    assert json.loads(done.stdout)["digest"] == str(image.digest)


@pytest.mark.base
@pytest.mark.slow
def test_a_real_debian_is_told_what_it_lacks(base_rootfs: Path):
    done = dbimage("verify", "--static", f"rootfs:{base_rootfs}", "--runtime", "16.4-lts", "--json", check=6)
    found = {each["rule"]: each for each in json.loads(done.stdout)["findings"]}
    assert "Debian GNU/Linux 12" in found["system"]["detail"]
    for package in ("bash", "iproute2", "coreutils", "procps", "sudo", "acl"):
        assert found[package]["state"] == "found"
    for rule in ("java", "libraries-user", "python", "virtualenv", "locale", "pyspark-python"):
        assert (found[rule]["state"], found[rule]["severity"]) == ("missing", "error")
    assert found["glibc"]["detail"].startswith("2.36; the runtime has 2.39")


def test_what_is_not_ours_is_not_built_again(tmp_path: Path):
    written(satisfying("15.4-lts"), tmp_path / "images")
    done = dbimage("reproduce", "oci:images:v1", "--json", check=3, by=typed)
    error = error_of(done)
    assert error["code"] == "cannot-reproduce"
    assert (
        "`oci:images:v1` cannot be built again: it has no record that mlflow-dbimage made it" in error["message"]
    )
    assert dbimage("reproduce", "--help").stdout.startswith("Usage: dbimage reproduce [OPTIONS] IMAGE")
