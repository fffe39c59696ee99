"""Root file systems as clusters of each Databricks Runtime want them, made of almost empty files.

They follow the recipes of Databricks' own images (github.com/databricks/containers) as the catalogue has them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import (
    TarEntry,
    directory_entry,
    file_entry,
    sorted_with_parents,
    symlink_entry,
    write_tar,
)
from mlflow_dbimage.runtimes import Catalogue, DcsImage, Runtime
from mlflow_dbimage.runtimes.runtime import GLIBC

CATALOGUE = Catalogue.load()
AMD64 = Platform("linux", "amd64")
PYTHON_PACKAGES = "databricks/python3/lib/python{}/site-packages"
#: Keys of all runtimes whose clusters take images.
RUNTIMES = tuple(each.key for each in CATALOGUE.runtimes() if each.dcs_supported)

_UPDATES = b"import logging\n\nPERIODIC_UPDATE_ON_BY_DEFAULT = False\n\n\nclass BaseEmbed:\n    pass\n"
_STATUS = "Package: {}\nStatus: install ok installed\nVersion: 1\nDescription: a\n package: b\n"


class Program(bytes):
    """Content of a file that can be run."""


Content = bytes | Program | str | None
"""Of a file, a program, a link, or a directory."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """A root file system and what the image's config says of it."""

    files: Mapping[str, Content]
    environment: Mapping[str, str]
    runtime: Runtime
    user: str | None = None
    platform: Platform = AMD64
    entrypoint: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def put(self, **files: Content) -> Root:
        """Return it with files of other content."""
        return replace(self, files={**self.files, **files})

    def without(self, *paths: str) -> Root:
        """Return it without some paths and what is below them."""

        def is_left(path: str) -> bool:
            return not any(path == each or path.startswith(f"{each}/") for each in paths)

        return replace(self, files={path: content for path, content in self.files.items() if is_left(path)})

    def setting(self, **variables: str | None) -> Root:
        """Return it with other environment variables; None unsets one."""
        values: dict[str, str | None] = {**self.environment, **variables}
        return replace(self, environment={name: value for name, value in values.items() if value is not None})

    def image(self, compression: Compression | None = None) -> Image:
        """Make the image: one layer, in memory."""
        layer = tar_layer(self.files, compression)
        base = image_of_layer(layer.descriptor, layer.diff_id, lambda digest: layer.open(), self.platform)
        run = RunConfig(
            environment=self.environment, user=self.user, entrypoint=self.entrypoint, labels=self.labels
        )
        return append(base, [], run)


def tar_layer(files: Mapping[str, Content], compression: Compression | None = Compression.GZIP) -> Layer:
    """Make a layer of files, in memory."""
    out = io.BytesIO()
    write_tar(sorted_with_parents((_entry(path, content) for path, content in files.items()), {}), out)
    plain = out.getvalue()
    media_type, data = OCI_LAYER_TAR, plain
    if compression is not None:
        running = compression.compressor()
        media_type, data = compression.media_type, running.compress(plain) + running.finish()
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    return Layer(descriptor=descriptor, diff_id=Digest.of(plain), open=lambda: io.BytesIO(data))


def stacked(image: Image, *layers: Layer) -> Image:
    """Lay more layers on an image."""
    return append(image, [Addition(layer=layer, created_by="a test") for layer in layers], RunConfig())


def satisfying(key: str, image_key: str | None = None) -> Root:
    """Return the root that fulfils the whole contract of a runtime.

    Args:
        key: Of the runtime.
        image_key: Of the Databricks image that it follows, where a runtime has two.
    """
    runtime = CATALOGUE.get(key)
    system = CATALOGUE.for_images(runtime)
    assert system is not None, "a runtime for machine learning has a sibling"
    reference = CATALOGUE.dcs_image(image_key or key)
    major = int(system.spark_version_string.split(".")[0])
    root = Root(files=_system(system, reference), environment=_variables(system), runtime=runtime)
    return _with_conda(root) if major < 9 else _with_python(root, system, reference)


def dist_info(folder: str, packages: Mapping[str, str]) -> dict[str, Content]:
    """Return the metadata of distributions, as their installers write it."""
    return {
        f"{folder}/{name.replace('-', '_')}-{version}.dist-info/METADATA": b"Metadata-Version: 2.1\n"
        for name, version in packages.items()
    }


def _entry(path: str, content: Content) -> TarEntry:
    if content is None:
        return directory_entry(path)
    if isinstance(content, str):
        return symlink_entry(path, content)
    return file_entry(path, bytes(content), 0o755 if isinstance(content, Program) else 0o644)


def _variables(runtime: Runtime) -> dict[str, str]:
    minor = tuple(int(part) for part in runtime.spark_version_string.split(".")[:2])
    found = {} if minor < (9, 0) else {"PYSPARK_PYTHON": "/databricks/python3/bin/python3"}
    if minor >= (15, 4):
        found |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    if minor >= (16, 0):
        found |= {"OPENSSL_FORCE_FIPS_MODE": "0"}
    return found


def _system(runtime: Runtime, reference: DcsImage | None) -> dict[str, Content]:
    release = (reference.os if reference else runtime.os).split()[1][:5]
    packages = ("bash", "iproute2", "coreutils", "procps", "sudo", "acl")
    names = f'PRETTY_NAME="Ubuntu {release} LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="{release}"\n'
    libc = f"\x7fELF GNU C Library (Ubuntu GLIBC) stable release version {GLIBC[release]}.\n"
    programs = ("bash", "cp", "ps", "sudo", "ip", "setfacl")
    return {
        **{f"usr/bin/{name}": Program(name.encode()) for name in programs},
        **_java(runtime.java, "zulu" if runtime.java == "17" or "15." in runtime.key else "openjdk"),
        "bin": "usr/bin",
        "usr/sbin/ip": "../bin/ip",
        "usr/lib/x86_64-linux-gnu/libc.so.6": Program(libc.encode("latin-1")),
        "etc/os-release": "../usr/lib/os-release",
        "usr/lib/os-release": names.encode(),
        "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\nlibraries:x:1000:1000::/home/libraries:/bin/sh\n",
        "etc/shadow": b"root:*:19000:0:99999:7:::\nlibraries:!:19000:0:99999:7:::\n",
        "var/lib/dpkg/status": "\n".join(map(_STATUS.format, packages)).encode(),
        "databricks": None,
        "tmp": None,
    }


def _java(major: str, maker: str) -> dict[str, Content]:
    """Lay out a JDK as its makers do; Java 8 has its JRE in a folder of its own."""
    home = f"usr/lib/jvm/{f'zulu{major}-ca-amd64' if maker == 'zulu' else f'java-{major}-openjdk-amd64'}"
    java = f"{home}/jre/bin/java" if major == "8" else f"{home}/bin/java"
    version = "1.8.0_412" if major == "8" else f"{major}.0.13"
    return {
        java: Program(b"java"),
        f"{home}/bin/javac": Program(b"javac"),
        f"{home}/release": f'IMPLEMENTOR="Azul"\nJAVA_VERSION="{version}"\nOS_ARCH="x86_64"\n'.encode(),
        "usr/bin/java": "/etc/alternatives/java",
        "etc/alternatives/java": f"/{java}",
    }


def _with_python(root: Root, runtime: Runtime, reference: DcsImage | None) -> Root:
    minor = runtime.python_minor
    tools = {"pip": "24.0", "setuptools": "74.0.0", "wheel": "0.38.4", "virtualenv": "20.26.2"}
    if reference is not None:
        tools = {name: version for name, version in reference.bootstrap.items() if name != "python"}
    dist = f"usr/local/lib/python{minor}/dist-packages"
    packages = reference.packages if reference else runtime.packages
    system = {name: packages[name] for name in ("six", "dbus-python") if name in packages}
    own = {name: version for name, version in packages.items() if name not in system}
    completion = "databricks/python-lsp"
    files: dict[str, Content] = {
        f"usr/bin/python{minor}": Program(b"python"),
        **dist_info(dist, tools),
        **{
            f"usr/lib/python3/dist-packages/{name.replace('-', '_')}-{version}-py3.egg-info": b"Name: x\n"
            for name, version in system.items()
        },
        f"{dist}/virtualenv/seed/embed/base_embed.py": _UPDATES,
        f"{dist}/virtualenv_support/pip-{tools['pip']}-py3-none-any.whl": b"PK",
        "usr/local/bin/virtualenv": Program(f"#!/usr/bin/python{minor}\nimport sys\n".encode()),
        **_virtual_environment("databricks/python3", minor),
        **dist_info(PYTHON_PACKAGES.format(minor), own),
        **_virtual_environment(completion, minor),
        **dist_info(f"{completion}/lib/python{minor}/site-packages", {"python-lsp-server": "1.8.0"}),
    }
    return replace(root, files={**root.files, **files})


def _virtual_environment(place: str, minor: str) -> dict[str, Content]:
    settings = (
        f"home = /usr/bin\nimplementation = CPython\nversion_info = {minor}.9.final.0\nvirtualenv = 20.24.2\n"
    )
    return {
        f"{place}/pyvenv.cfg": f"{settings}include-system-site-packages = true\nbase-prefix = /usr\n".encode(),
        f"{place}/bin/python": f"/usr/bin/python{minor}",
        f"{place}/bin/python3": "python",
        f"{place}/lib/python{minor}/site-packages": None,
    }


def _with_conda(root: Root) -> Root:
    runtime = root.runtime
    name = "databricks-ml" if runtime.is_ml else "dcs-minimal"
    place = f"databricks/conda/envs/{name}"
    files: dict[str, Content] = {
        "databricks/conda/bin/conda": Program(b"#!/databricks/conda/bin/python\n"),
        "databricks/conda/bin/python": "python3.8",
        "databricks/conda/bin/python3.8": Program(b"python"),
        "databricks/conda/conda-meta/history": b"",
        "databricks/conda/lib/python3.8/site-packages": None,
        f"{place}/conda-meta/history": b"",
        f"{place}/bin/python": f"python{runtime.python_minor}",
        f"{place}/bin/python{runtime.python_minor}": Program(b"python"),
        **dist_info(f"{place}/lib/python{runtime.python_minor}/site-packages", runtime.packages),
    }
    variables = {"DEFAULT_DATABRICKS_ROOT_CONDA_ENV": name, "DATABRICKS_ROOT_CONDA_ENV": name}
    return replace(root, files={**root.files, **files}, environment={**root.environment, **variables})


def index_of(image: Image, attestations: int) -> bytes:
    """Return the index by which a builder names an image with attestations."""
    entry = image.descriptor.to_dict() | {"platform": {"os": "linux", "architecture": "amd64"}}
    attestation = image.descriptor.to_dict() | {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    return json.dumps({"schemaVersion": 2, "manifests": [entry, *([attestation] * attestations)]}).encode()
