"""What is read of a root: the Java on PATH, users, packages, and what makes notebooks their Python."""

from __future__ import annotations

import pytest

from dcs_roots import Content, Program, dist_info, tar_layer
from mlflow_dbimage.cluster_roots import ClusterRoot, is_wanted, read_cluster_root
from mlflow_dbimage.cluster_roots.cluster_root import Java
from mlflow_dbimage.oci.root_listing import read_listing
from oci_samples import image_of

JVM = "usr/lib/jvm"


def root(files: dict[str, Content], **environment: str) -> ClusterRoot:
    return read_cluster_root(read_listing(image_of(tar_layer(files)), is_wanted), environment, ())


def java(files: dict[str, Content], **environment: str) -> Java | None:
    return root(files, **environment).java


@pytest.mark.parametrize(
    ("folder", "major"),
    [
        ("java-8-openjdk-amd64/jre", "8"),
        ("java-17-openjdk-amd64", "17"),
        ("java-1.8.0-openjdk-1.8.0.412/jre", "8"),
        ("zulu8-ca-amd64", "8"),
        ("zulu-17-amd64", "17"),
        ("jdk1.8.0_202", "8"),
        ("jdk-17.0.2", "17"),
        ("jdk8u412-b08", "8"),
        ("temurin-21-jdk-amd64", "21"),
        ("graal", None),
    ],
)
def test_a_java_without_a_release_file_is_known_by_its_folder(folder: str, major: str | None) -> None:
    found = java({"usr/bin/java": f"/{JVM}/{folder}/bin/java", f"{JVM}/{folder}/bin/java": Program(b"")})
    assert found is not None
    assert found.major == major


def test_the_release_file_counts_more_than_the_folder() -> None:
    text = b'IMPLEMENTOR="Debian"\nJAVA_RUNTIME_VERSION="17.0.21.1+2"\nJAVA_VERSION="17.0.21.1"\nLIBC="gnu"\n'
    place = f"{JVM}/java-8-openjdk-amd64"
    found = java({"bin/java": f"/{place}/bin/java", f"{place}/bin/java": Program(b""), f"{place}/release": text})
    assert found == Java(path=f"{place}/bin/java", version="17.0.21.1", has_compiler=False)
    assert found.major == "17"


def test_the_first_java_on_path_is_the_one() -> None:
    files: dict[str, Content] = {
        "opt/jdk-17/bin/java": Program(b""),
        "opt/jdk-17/bin/javac": Program(b""),
        "usr/bin/java": f"/{JVM}/zulu8/bin/java",
        f"{JVM}/zulu8/bin/java": Program(b""),
        "opt/old/java": b"no program",
    }
    first = java(files, PATH="relative:/opt/old:/opt/jdk-17/bin:/usr/bin")
    assert first == Java(path="opt/jdk-17/bin/java", version="17", has_compiler=True)
    second = java(files)
    assert second is not None
    assert second.major == "8"


def test_programs_are_found_where_path_does_not_lead() -> None:
    assert root({"sbin": "usr/sbin", "usr/sbin/ip": Program(b"")}, PATH="/opt/bin").programs == {"ip"}


def test_users_are_locked_who_have_no_password() -> None:
    found = root(
        {
            "etc/passwd": b"root:x:0:0::/root:/bin/sh\na:x:1:1::/:\nb:x:2:2::/:\nc:x:3:3::/:\n\nbroken\n",
            "etc/shadow": b"root:*:1::::::\na:!$6$x$y:1::::::\nb:$6$x$y:1::::::\n",
        }
    )
    assert found.users == {"root": True, "a": True, "b": False, "c": None}


@pytest.mark.parametrize("first_line", ["#!/usr/bin/python3.11", "#! /usr/bin/env python3", "\x7fELF"])
def test_what_stands_beside_virtualenv_is_found(first_line: str) -> None:
    site = "usr/local/lib/python3.11/dist-packages"
    found = root(
        {
            "usr/bin/python3": "python3.11",
            "usr/bin/python3.11": Program(b""),
            "usr/local/bin/virtualenv": Program(f"{first_line}\n".encode("latin-1")),
            **dist_info(site, {"pip": "23.2.1", "virtualenv": "20.24.2", "other": "1"}),
            f"{site}/virtualenv/seed/embed/base_embed.py": b"x = 1\nPERIODIC_UPDATE_ON_BY_DEFAULT = True\n",
            f"{site}/virtualenv_support/pip-23.2.1-py3-none-any.whl": b"",
            f"{site}/virtualenv_support/README": b"",
        }
    ).virtualenv
    assert found is not None
    assert found.versions == {"pip": "23.2.1", "virtualenv": "20.24.2"}
    assert found.updates_itself is True
    assert found.pip_wheels == ("pip-23.2.1-py3-none-any.whl",)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("etc/shadow", True),
        ("etc/passwd-", False),
        ("usr/lib/os-release", True),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", True),
        ("usr/lib/jvm/java-17-openjdk-amd64/release", True),
        ("opt/java/openjdk/release", True),
        ("usr/share/doc/release", False),
        ("databricks/python3/pyvenv.cfg", True),
        ("opt/dbimage/model/model.pkl", False),
        ("var/lib/dpkg/status.d/base", True),
        ("var/lib/dpkg/info/bash.list", False),
    ],
)
def test_only_small_files_that_decide_something_are_read(path: str, wanted: bool) -> None:
    assert is_wanted(path) is wanted
