"""The contract of clusters: roots that fulfil it, and for each rule roots that break it and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from dcs_roots import (
    CATALOGUE,
    PYTHON_PACKAGES,
    RUNTIMES,
    Program,
    Root,
    dist_info,
    index_of,
    satisfying,
    stacked,
    tar_layer,
)
from mlflow_dbimage.build_receipt import LayerRecord
from mlflow_dbimage.cluster_roots import ClusterRoot, is_wanted, read_cluster_root
from mlflow_dbimage.dcs_contract import RULES, Finding, Subject, check
from mlflow_dbimage.model_layers import SCORE_PATH
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD, Platform
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.root_listing import read_listing
from oci_samples import foreign_tar, plain_layer
from unit.test_build_receipt import RECORD as PLAIN_RECORD

RECORD = replace(
    PLAIN_RECORD,
    layers=tuple(
        LayerRecord(kind=kind, digest="sha256:5", diff_id="sha256:6", size=7, contents=())
        for kind in ("environment", "environment", "scoring", "model")
    ),
)


def subject_of(root: Root, image: Image | None = None, *, asked: str | None = None) -> Subject:
    image = image or root.image(Compression.GZIP)
    listing = read_listing(image, is_wanted)
    runtime = CATALOGUE.get(asked) if asked else root.runtime
    sibling = CATALOGUE.for_images(runtime)
    executables = (SCORE_PATH, image.environment.get("PYSPARK_PYTHON", ""))
    return Subject(
        image=image,
        root=read_cluster_root(listing, image.environment, executables),
        runtime=sibling,
        asked=runtime,
        reference=CATALOGUE.dcs_image(sibling.key),
    )


def broken(subject: Subject) -> dict[str, Finding]:
    """Return what is not as it should be, by rule."""
    findings = check(subject)
    assert len({each.rule for each in findings}) == len(findings)
    assert not [each for each in findings if "{" in each.mend or not each.reason or not each.demands]
    return {each.rule: each for each in findings if each.state != "found"}


@pytest.mark.parametrize("key", RUNTIMES)
def test_every_runtime_has_a_root_that_fulfils_its_contract(key: str):
    subject = subject_of(satisfying(key))
    assert broken(subject) == {}
    concerned = {rule.id for rule in RULES if subject.version in rule.runtimes}
    of_others = {"scoring", "recorded-runtime", "launcher"}
    of_others |= set() if subject.reference else {"bootstrap"}
    of_others |= set() if subject.version < (7, 6) else {"conda-traitlets"}
    assert {each.rule for each in check(subject)} == concerned - of_others


def test_either_image_of_9_1_fulfils_its_contract():
    older, newer = satisfying("9.1-lts"), satisfying("9.1-lts", "9.1-ubuntu20-lts")
    assert b'VERSION_ID="18.04"' in older.files["usr/lib/os-release"]
    assert b'VERSION_ID="20.04"' in newer.files["usr/lib/os-release"]
    assert broken(subject_of(older)) == broken(subject_of(newer)) == {}


@pytest.mark.parametrize("key", ["7.3-lts-ml", "7.6-ml", "12.2-lts-ml", "15.4-lts-ml", "17.3-lts-ml-gpu"])
def test_a_runtime_for_machine_learning_is_only_told_to_use_its_sibling(key: str):
    found = broken(subject_of(satisfying(key)))
    assert set(found) == {"ml-runtime"}
    assert not found["ml-runtime"].is_error
    sibling = key.partition("-")[0]
    assert f"`{sibling}.x-scala" in found["ml-runtime"].mend


SITE = PYTHON_PACKAGES.format("3.11")
OPT = "databricks/conda/envs/dcs-minimal"

Change = Callable[[Root], Root]


def put(path: str, content: object) -> Change:
    return lambda root: replace(root, files={**root.files, path: content})


def gone(*paths: str) -> Change:
    return lambda root: root.without(*paths)


def swapped(path: str, content: object) -> Change:
    """Put something in the place of a folder."""
    return lambda root: put(path, content)(root.without(path))


def variables(**values: str | None) -> Change:
    return lambda root: root.setting(**values)


def config(**values: object) -> Change:
    return lambda root: replace(root, **values)


def edited(path: str, old: bytes, new: bytes) -> Change:
    def change(root: Root) -> Root:
        content = root.files[path]
        assert isinstance(content, bytes)
        assert old in content
        return put(path, type(content)(content.replace(old, new)))(root)

    return change


def both(*changes: Change) -> Change:
    def change(root: Root) -> Root:
        for each in changes:
            root = each(root)
        return root

    return change


def other_version(package: str, version: str) -> Change:
    def change(root: Root) -> Root:
        (old,) = [path for path in root.files if path.startswith(f"{SITE}/{package}-")]
        return replace(root.without(old), files={**root.without(old).files, **dist_info(SITE, {package: version})})

    return change


def java(version: bytes) -> Change:
    return edited("usr/lib/jvm/zulu8-ca-amd64/release", b"1.8.0_412", version)


def without_program(name: str, package: str, key: str = "15.4-lts"):
    change = both(
        gone(f"usr/bin/{name}", f"usr/sbin/{name}"), edited("var/lib/dpkg/status", package.encode(), b"x")
    )
    return (package, key, change, "missing", "error")


def of_python_3_12(root: Root) -> Root:
    files = {
        path.replace("python3/lib/python3.11", "python3/lib/python3.12"): content
        for path, content in root.files.items()
    }
    return edited("databricks/python3/pyvenv.cfg", b"3.11.9", b"3.12.3")(replace(root, files=files))


UBUNTU = "usr/lib/os-release"
RELEASE_FIELD = b"ID=ubuntu"
DIST = "usr/local/lib/python3.11/dist-packages"
EMBED = f"{DIST}/virtualenv/seed/embed/base_embed.py"

#: Rule, runtime, what breaks it, and what is found.
VIOLATIONS = [
    ("platform", "15.4-lts", config(platform=Platform("linux", "arm64", "v8")), "wrong", "error"),
    ("platform", "15.4-lts", config(platform=Platform("windows", "amd64")), "wrong", "error"),
    ("user", "15.4-lts", config(user="libraries"), "wrong", "warning"),
    ("user", "15.4-lts", config(user="1000:0"), "wrong", "warning"),
    ("secrets", "15.4-lts", variables(DB_PASSWORD="hunter2"), "wrong", "warning"),
    (
        "secrets",
        "15.4-lts",
        variables(PIP_INDEX_URL="https://ada:hunter2@pypi.acme.example/simple"),
        "wrong",
        "warning",
    ),
    ("secrets", "15.4-lts", variables(NOTE=f"dapi{'0' * 32}"), "wrong", "warning"),
    ("secrets", "15.4-lts", config(labels={"by": f"ghp_{'x' * 36}"}), "wrong", "warning"),
    ("locale", "15.4-lts", variables(LANG=None), "missing", "error"),
    ("locale", "17.3-lts", variables(LC_ALL=None, LANG=None), "missing", "error"),
    ("locale", "15.4-lts", variables(LC_ALL="POSIX"), "wrong", "error"),
    ("locale", "15.4-lts", variables(LANG="en_US.UTF-8"), "wrong", "warning"),
    ("fips", "16.4-lts", variables(OPENSSL_FORCE_FIPS_MODE=None), "missing", "warning"),
    ("fips", "17.3-lts", variables(OPENSSL_FORCE_FIPS_MODE="1"), "wrong", "warning"),
    ("system", "15.4-lts", gone("etc/os-release", UBUNTU), "missing", "error"),
    ("system", "15.4-lts", edited(UBUNTU, RELEASE_FIELD, b"ID=debian"), "wrong", "error"),
    ("system", "15.4-lts", edited(UBUNTU, b"22.04", b"24.04"), "wrong", "warning"),
    ("glibc", "15.4-lts", gone("usr/lib/x86_64-linux-gnu/libc.so.6"), "missing", "error"),
    ("glibc", "15.4-lts", edited("usr/lib/x86_64-linux-gnu/libc.so.6", b"2.35", b"2.31"), "wrong", "warning"),
    ("java", "15.4-lts", gone("usr/bin/java"), "missing", "error"),
    ("java", "15.4-lts", put("etc/alternatives/java", "/usr/lib/jvm/nothing"), "missing", "error"),
    ("java", "15.4-lts", variables(PATH="/opt/bin"), "missing", "error"),
    ("java", "15.4-lts", java(b"17.0.13"), "wrong", "error"),
    ("java", "17.3-lts", edited("usr/lib/jvm/zulu17-ca-amd64/release", b"17.0.13", b"21"), "wrong", "error"),
    (
        "java",
        "15.4-lts",
        both(put("usr/bin/java", Program(b"sh")), put("usr/bin/javac", Program(b"sh"))),
        "unknown",
        "warning",
    ),
    ("jdk", "15.4-lts", gone("usr/lib/jvm/zulu8-ca-amd64/bin/javac"), "missing", "warning"),
    without_program("bash", "bash"),
    without_program("ip", "iproute2"),
    without_program("cp", "coreutils", "7.3-lts"),
    without_program("ps", "procps"),
    without_program("sudo", "sudo", "9.1-lts"),
    without_program("setfacl", "acl", "13.3-lts"),
    (
        "sudo",
        "15.4-lts",
        both(put("usr/bin/sudo", b"no program"), edited("var/lib/dpkg/status", b"sudo", b"x")),
        "missing",
        "error",
    ),
    ("libraries-user", "13.3-lts", edited("etc/passwd", b"libraries:", b"books:"), "missing", "error"),
    (
        "libraries-user",
        "17.3-lts",
        edited("etc/shadow", b"libraries:!", b"libraries:$6$salt$hash"),
        "wrong",
        "warning",
    ),
    ("libraries-user", "15.4-lts", gone("etc/shadow"), "unknown", "warning"),
    ("python", "15.4-lts", gone("databricks/python3"), "missing", "error"),
    ("python", "15.4-lts", swapped("databricks/python3", "/opt/conda/envs/model"), "wrong", "error"),
    ("python", "15.4-lts", swapped("databricks/python3", "python-lsp"), "wrong", "error"),
    ("python", "15.4-lts", swapped("databricks/python3", b"a file"), "wrong", "error"),
    ("python", "15.4-lts", put("databricks/python3/conda-meta/history", b""), "wrong", "error"),
    ("python", "15.4-lts", gone("databricks/python3/pyvenv.cfg"), "wrong", "error"),
    ("python", "15.4-lts", gone("databricks/python3/bin"), "wrong", "error"),
    ("python-version", "15.4-lts", of_python_3_12, "wrong", "error"),
    (
        "system-packages",
        "15.4-lts",
        both(
            edited("databricks/python3/pyvenv.cfg", b"= true", b"= false"),
            put(f"{SITE}/six-1.16.0.dist-info", None),
        ),
        "wrong",
        "error",
    ),
    ("packages", "15.4-lts", gone(f"{SITE}/ipython-8.15.0.dist-info"), "missing", "error"),
    ("packages", "15.4-lts", gone(f"{SITE}/pyccolo-0.0.52.dist-info"), "missing", "error"),
    ("packages", "15.4-lts", gone("usr/lib/python3"), "missing", "error"),
    ("package-versions", "15.4-lts", other_version("numpy", "2.1.0"), "wrong", "warning"),
    ("no-pyspark", "15.4-lts", put(f"{SITE}/pyspark-3.5.0.dist-info", None), "wrong", "error"),
    ("no-pyspark", "15.4-lts", put(f"{SITE}/pyspark/__init__.py", b""), "wrong", "error"),
    (
        "no-pyspark",
        "9.1-lts",
        put("usr/local/lib/python3.8/dist-packages/pyspark/__init__.py", b""),
        "wrong",
        "error",
    ),
    ("pyspark-python", "15.4-lts", variables(PYSPARK_PYTHON=None), "missing", "error"),
    ("pyspark-python", "9.1-lts", variables(PYSPARK_PYTHON="/opt/conda/bin/python"), "wrong", "error"),
    ("pyspark-python", "15.4-lts", variables(PYSPARK_PYTHON="/usr/bin/python3.11"), "wrong", "warning"),
    ("virtualenv", "15.4-lts", gone("usr/local/bin/virtualenv"), "missing", "error"),
    ("virtualenv", "9.1-lts", put("usr/local/bin/virtualenv", b"#!/usr/bin/python3.8\n"), "missing", "error"),
    ("bootstrap", "15.4-lts", gone(f"{DIST}/pip-23.2.1.dist-info"), "missing", "warning"),
    (
        "bootstrap",
        "15.4-lts",
        both(gone(f"{DIST}/setuptools-68.0.0.dist-info"), put(f"{DIST}/setuptools-82.0.0.dist-info", None)),
        "wrong",
        "warning",
    ),
    ("periodic-update", "15.4-lts", edited(EMBED, b"= False", b"= True"), "wrong", "warning"),
    ("periodic-update", "15.4-lts", gone(EMBED), "unknown", "warning"),
    ("pip-wheel", "15.4-lts", gone(f"{DIST}/virtualenv_support"), "missing", "warning"),
    ("completion", "12.2-lts", gone("databricks/python-lsp"), "missing", "warning"),
    ("completion", "15.4-lts", gone("databricks/python-lsp/lib/python3.11/site-packages"), "missing", "warning"),
    ("conda", "7.3-lts", gone("databricks/conda"), "missing", "error"),
    ("conda", "7.6", swapped("databricks/conda", "/opt/conda"), "wrong", "error"),
    ("conda", "7.6", gone("databricks/conda/conda-meta"), "wrong", "error"),
    ("conda", "7.6", gone("databricks/conda/bin/conda"), "wrong", "error"),
    ("conda-variables", "7.3-lts", variables(DATABRICKS_ROOT_CONDA_ENV=None), "missing", "error"),
    (
        "conda-variables",
        "7.6",
        variables(DEFAULT_DATABRICKS_ROOT_CONDA_ENV=None, DATABRICKS_ROOT_CONDA_ENV=None),
        "missing",
        "error",
    ),
    ("conda-variables", "7.6", variables(DATABRICKS_ROOT_CONDA_ENV="other"), "wrong", "error"),
    ("conda-environment", "7.6", gone(OPT), "missing", "error"),
    ("conda-environment", "7.6", gone(f"{OPT}/bin"), "wrong", "error"),
    (
        "conda-environment",
        "7.6",
        both(
            gone(OPT),
            put(f"{OPT}/bin/python3.9", Program(b"")),
            put(f"{OPT}/bin/python", "python3.9"),
            put(f"{OPT}/lib/python3.9", None),
        ),
        "wrong",
        "error",
    ),
    (
        "conda-packages",
        "7.6",
        gone(f"{OPT}/lib/python3.7/site-packages/pandas-1.0.1.dist-info"),
        "missing",
        "error",
    ),
    (
        "conda-package-versions",
        "7.6",
        both(
            gone(f"{OPT}/lib/python3.7/site-packages/pandas-1.0.1.dist-info"),
            put(f"{OPT}/lib/python3.7/site-packages/pandas-1.3.5.dist-info", None),
        ),
        "wrong",
        "warning",
    ),
    (
        "conda-no-pyspark",
        "7.3-lts",
        put(f"{OPT}/lib/python3.7/site-packages/pyspark/__init__.py", b""),
        "wrong",
        "error",
    ),
]


@pytest.mark.parametrize(
    ("rule", "key", "change", "state", "severity"),
    VIOLATIONS,
    ids=[f"{rule}-{key}-{state}-{number}" for number, (rule, key, _, state, _) in enumerate(VIOLATIONS)],
)
def test_a_violation_is_found_by_its_rule_and_by_no_other(rule, key, change, state, severity):
    found = broken(subject_of(change(satisfying(key))))
    assert set(found) == {rule}
    assert (found[rule].state, found[rule].severity) == (state, severity)
    assert found[rule].is_error == (severity == "error" and state != "unknown")
    assert found[rule].detail


def test_new_traitlets_stop_the_notebooks_of_7_3():
    site = f"{OPT}/lib/python3.7/site-packages/traitlets"
    change = both(gone(f"{site}-4.3.3.dist-info"), put(f"{site}-5.0.5.dist-info", None))
    assert set(broken(subject_of(change(satisfying("7.3-lts"))))) == {"conda-traitlets", "conda-package-versions"}
    assert set(broken(subject_of(change(satisfying("7.6"))))) == {"conda-package-versions"}


def broken_image(change: Callable[[Image], Image]) -> dict[str, Finding]:
    root = satisfying("15.4-lts")
    subject = subject_of(root)
    return broken(replace(subject, image=change(subject.image)))


def with_media_type(image: Image, media_type: str) -> Image:
    layers = (replace(each, descriptor=replace(each.descriptor, media_type=media_type)) for each in image.layers)
    return replace(image, layers=tuple(layers))


def of_size(image: Image, size: int) -> Image:
    layers = (replace(each, descriptor=replace(each.descriptor, size=size)) for each in image.layers)
    return replace(image, layers=tuple(layers))


@pytest.mark.parametrize(
    ("rule", "change", "severity"),
    [
        ("manifest", lambda image: replace(image, index=index_of(image, 1)), "warning"),
        ("manifest", lambda image: replace(image, index=index_of(image, 0)), "warning"),
        ("compression", lambda image: with_media_type(image, OCI_LAYER_ZSTD), "error"),
        ("compression", lambda image: with_media_type(image, "application/x-lzma"), "error"),
        ("layer-count", lambda image: replace(image, layers=image.layers * 61), "warning"),
        ("layer-count", lambda image: replace(image, layers=image.layers * 128), "error"),
        ("size", lambda image: of_size(image, 7_000_000_001), "warning"),
        ("size", lambda image: of_size(with_media_type(image, OCI_LAYER_TAR), 7_000_000_001), "warning"),
    ],
)
def test_a_violation_of_manifest_or_layers_is_found(rule, change, severity):
    found = broken_image(change)
    assert set(found) == {rule}
    assert found[rule].severity == severity


@pytest.mark.parametrize(
    "name",
    [
        *("DB_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "token", "HF_TOKEN", "AWS_ACCESS_KEY_ID"),
        *("AWS_SECRET_ACCESS_KEY", "SECRET_KEY", "AZURE_CLIENT_SECRET", "OPENAI_API_KEY", "APIKEY"),
    ],
)
def test_variables_are_known_as_secrets_by_their_names(name: str):
    assert set(broken(subject_of(satisfying("15.4-lts").setting(**{name: "value"})))) == {"secrets"}


@pytest.mark.parametrize(
    "change",
    [
        lambda image: with_media_type(image, OCI_LAYER_TAR),
        lambda image: with_media_type(image, OCI_LAYER_GZIP),
        lambda image: replace(image, layers=image.layers * 60),
        lambda image: of_size(image, 7_000_000_000),
    ],
)
def test_what_is_just_right_is_not_a_violation(change):
    assert broken_image(change) == {}


@pytest.mark.parametrize(
    "change",
    [
        config(user="root"),
        config(user="0:0"),
        variables(
            API_TOKEN="{{secrets/scope/key}}", TOKEN_FILE="/run/token", GOOGLE_APPLICATION_CREDENTIALS="/x.json"
        ),
        variables(PASSWORD="", KEYCHAIN="value", GPG_KEY="A035C8C19219BA821ECEA86B64E628F8D684696D"),
        variables(PIP_INDEX_URL="https://pypi.acme.example/simple"),
        variables(PYSPARK_PYTHON="/databricks/python3/bin/python"),
        variables(PATH="/opt/bin:/usr/bin"),
        both(edited(EMBED, b"= False", b"= True"), variables(VIRTUALENV_NO_PERIODIC_UPDATE="1")),
        both(edited("etc/shadow", b"libraries:!", b"libraries:!!")),
        java(b"1.8.0_392"),
        both(gone("usr/bin/ps")),
        both(gone("usr/lib/jvm/zulu8-ca-amd64/release")),
        other_version("numpy", "1.23.5+local"),
        put("opt/dbimage/env/lib/python3.11/site-packages/pyspark/__init__.py", b""),
        edited("usr/local/bin/virtualenv", b"#!/usr/bin/python3.11", b"#!/usr/bin/env python3"),
    ],
)
def test_what_only_looks_like_a_violation_is_none(change):
    assert broken(subject_of(change(satisfying("15.4-lts")))) == {}


def test_programs_that_dpkg_alone_knows_are_said_to_be_so():
    subject = subject_of(gone("usr/bin/ps")(satisfying("15.4-lts")))
    (finding,) = [each for each in check(subject) if each.rule == "procps"]
    assert finding.detail == "installed, by dpkg, though `ps` is not on PATH"


def test_images_without_a_package_manager_say_what_they_have_in_a_file_a_package():
    root = satisfying("15.4-lts").without("usr/bin/ps", "var/lib/dpkg/status")
    root = put("var/lib/dpkg/status.d/procps", b"Package: procps\nVersion: 4\n")(root)
    assert broken(subject_of(root)) == {}


def test_a_package_that_was_removed_is_not_installed():
    root = edited(
        "var/lib/dpkg/status",
        b"Package: procps\nStatus: install ok installed",
        b"Package: procps\nStatus: deinstall ok config-files",
    )(satisfying("15.4-lts"))
    assert set(broken(subject_of(root.without("usr/bin/ps")))) == {"procps"}


def test_secrets_are_found_and_not_told():
    root = satisfying("15.4-lts").setting(DB_PASSWORD="hunter2", URL="https://u:hunter2@host/x")
    (finding,) = broken(subject_of(root)).values()
    assert finding.detail == "the variable `DB_PASSWORD`; the variable `URL`"
    assert "hunter2" not in json.dumps(finding.to_dict())


def test_a_secret_in_a_step_of_the_history_is_found():
    root = satisfying("15.4-lts")
    image = root.image(Compression.GZIP)
    history = json.loads(image.config)
    history["history"].append(
        {"created_by": "|1 T=dapi0123456789abcdef0123456789abcdef pip install", "empty_layer": True}
    )
    found = broken(replace(subject_of(root, image), image=replace(image, config=json.dumps(history).encode())))
    assert {rule: each.detail for rule, each in found.items()} == {"secrets": "step 2 of the history"}


def test_a_higher_layer_can_break_and_mend():
    image = satisfying("15.4-lts").image(Compression.GZIP)
    root = satisfying("15.4-lts")
    broken_one = stacked(image, tar_layer({f"{SITE}/pyspark/__init__.py": b""}))
    assert set(broken(subject_of(root, broken_one))) == {"no-pyspark"}
    mended = stacked(broken_one, tar_layer_of_whiteout(f"{SITE}/pyspark"))
    assert broken(subject_of(root, mended)) == {}


def tar_layer_of_whiteout(path: str):
    folder, _, name = path.rpartition("/")
    return plain_layer(foreign_tar([(f"{folder}/.wh.{name}", b"")]))


def of_ours(**changes: object) -> Root:
    root = replace(
        satisfying("15.4-lts"),
        entrypoint=(SCORE_PATH,),
        labels=RECORD.to_labels(),
    )
    files = {SCORE_PATH[1:]: Program(b"#!/bin/sh"), **dist_info(SITE, {"dbimage_launcher": "1.0"})}
    return replace(root, **{"files": {**root.files, **files}, **changes})


def test_an_image_of_ours_has_its_entry_point_and_names_its_layers():
    findings = {each.rule: each for each in check(subject_of(of_ours()))}
    assert findings["scoring"].detail == "layers: 4 of the base, 2 environment, 1 scoring, 1 model"
    assert findings["recorded-runtime"].detail == "15.4-lts"
    assert findings["launcher"].detail == "dbimage-launcher 1.0"
    assert not [each for each in findings.values() if each.state != "found"]


@pytest.mark.parametrize(
    ("root", "state"),
    [
        (of_ours().without(SCORE_PATH[1:]), "missing"),
        (put(SCORE_PATH[1:], b"no program")(of_ours()), "missing"),
        (of_ours(entrypoint=("/bin/bash",)), "wrong"),
    ],
)
def test_an_image_of_ours_without_its_entry_point_is_broken(root: Root, state: str):
    found = broken(subject_of(root))
    assert {rule: (each.state, each.is_error) for rule, each in found.items()} == {"scoring": (state, True)}


def test_an_image_of_ours_without_the_launcher_is_broken():
    found = broken(subject_of(of_ours().without(f"{SITE}/dbimage_launcher-1.0.dist-info")))
    assert {rule: (each.state, each.is_error) for rule, each in found.items()} == {"launcher": ("missing", True)}


def test_an_image_of_ours_held_against_another_runtime_is_told():
    found = broken(subject_of(of_ours(), asked="15.4-lts-ml"))
    assert set(found) == {"ml-runtime"}
    found = broken(subject_of(of_ours(), asked="14.3-lts"))
    assert found["recorded-runtime"].detail == "it was made for `15.4-lts`, not `14.3-lts`"
    assert not found["recorded-runtime"].is_error


def test_every_rule_has_a_violation():
    violated = {rule for rule, *_ in VIOLATIONS}
    elsewhere = {
        *("manifest", "compression", "layer-count", "size"),
        *("ml-runtime", "recorded-runtime", "scoring", "launcher", "conda-traitlets"),
    }
    assert violated | elsewhere == {rule.id for rule in RULES}
    assert not violated & elsewhere


@pytest.mark.parametrize("key", ["7.6", "9.1-lts", "15.4-lts"])
def test_what_is_read_of_a_root_is_kept_as_json(key: str):
    root = subject_of(satisfying(key)).root
    assert ClusterRoot.from_dict(json.loads(json.dumps(root.to_dict()))) == root


def test_no_password_is_kept_of_a_root():
    root = edited("etc/shadow", b"libraries:!", b"libraries:$6$salt$hash")(satisfying("15.4-lts"))
    assert "$6$" not in json.dumps(subject_of(root).root.to_dict())


def test_an_empty_root_breaks_nearly_everything_and_no_rule_fails():
    root = replace(satisfying("15.4-lts"), files={"tmp": None}, environment={})
    found = broken(subject_of(root))
    assert {each.state for each in found.values()} == {"missing"}
    assert {"system", "glibc", "java", "bash", "python", "virtualenv", "locale", "libraries-user"} <= set(found)
