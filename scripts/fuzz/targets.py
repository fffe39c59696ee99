"""What is fuzzed: by name, a reader, and seeds that it takes. A reader may refuse; anything else is a crash."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_dbimage import recorded_lock
from mlflow_dbimage.backends.conda_records import channels_of, record_of
from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.backends.wheel_files import read_contents
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.environment_files import read_file
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.image_location import parse_base, parse_target
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.model_reference import parse as parse_reference
from mlflow_dbimage.model_spec import read as read_model
from mlflow_dbimage.oci.artifact import contents_of, read_referrers
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, OCI_MANIFEST, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import read_archive
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.root_listing import read_listing
from mlflow_dbimage.safe_yaml import load
from mlflow_dbimage.service.deliveries import Refused, Trust, check_databricks, check_mlflow
from mlflow_dbimage.service.events import from_databricks, from_mlflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: tuple[type[Exception], ...] = (DbimageError, ValueError)
    """How it says no."""


def outcome(target: Target, data: bytes) -> None:
    """Give data to a reader; whatever is raised is a crash."""
    with suppress(*target.refuses):
        target.read(data)


def _tar(*members: tuple[str, bytes, str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, link, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _layer(data: bytes) -> Layer:
    digest = Digest.of(data)
    descriptor = Descriptor(media_type=OCI_LAYER_TAR, digest=digest, size=len(data))
    return Layer(descriptor=descriptor, diff_id=digest, open=lambda: io.BytesIO(data))


def _unpack(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        try:
            unpack_layer(_layer(data), root)
        finally:
            assert [path.name for path in Path(folder).iterdir()] == ["root"], "it left its folder"


def _list(data: bytes) -> object:
    layer = _layer(data)
    manifest = json.dumps({"config": {}, "layers": [layer.descriptor.to_dict()]}).encode()
    image = Image(manifest=manifest, media_type=OCI_MANIFEST, config=_CONFIG, layers=(layer,))
    return read_listing(image, lambda path: True)


def _written(data: bytes, name: str, read: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return read(path)


def _layout(document: str) -> Callable[[bytes], object]:
    """Read an image of which one document is fuzzed, and the others say so."""

    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            blobs = Path(folder) / "blobs" / "sha256"
            blobs.mkdir(parents=True)

            def put(blob: bytes) -> dict[str, object]:
                (blobs / Digest.of(blob).hex).write_bytes(blob)
                return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(blob)), "size": len(blob)}

            config = put(data if document == "config" else _CONFIG)
            manifest = data if document == "manifest" else _MANIFEST % json.dumps(config).encode()
            entry = put(manifest) | {"annotations": {"org.opencontainers.image.ref.name": "x"}}
            index = (
                data if document == "index" else json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
            )
            (Path(folder) / "index.json").write_bytes(index)
            (Path(folder) / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
            layout = Layout(Path(folder))
            image = layout.image("x", Platform("linux", "amd64"))
            return image.platform, image.labels, image.environment, image.user, image.entrypoint, image.steps

    return read


def _wheel() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in {
            "x/__init__.py": "",
            "x-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
            "x-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "x-1.0.dist-info/entry_points.txt": "[console_scripts]\nx = x:main\n",
            "x-1.0.dist-info/RECORD": "x/__init__.py,,\nx-1.0.dist-info/METADATA,,\nx-1.0.dist-info/WHEEL,,\n"
            "x-1.0.dist-info/entry_points.txt,,\nx-1.0.dist-info/RECORD,,\n",
        }.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def _wheel_with(member: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(_wheel())) as old, zipfile.ZipFile(stream, "w") as new:
            for name in old.namelist():
                new.writestr(zipfile.ZipInfo(name), data if name.endswith(member) else old.read(name))
        return _contents(stream.getvalue())

    return read


def _contents(data: bytes) -> object:
    return _written(data, "x-1.0-py3-none-any.whl", lambda path: read_contents(path, "3.11"))


def _model(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_bytes(data)
        (Path(folder) / "conda.yaml").write_bytes(_CONDA)
        return read_model(parse_reference(folder), Path(folder))


def _lock_files(data: bytes) -> None:
    text = data.decode(errors="replace")
    with suppress(ValueError):
        channels_of([each.channel for each in recorded_lock.read_conda(text)], {})
    with suppress(ValueError):
        _keep_inside(recorded_lock.read_wheels(text))


def _base_environment(data: bytes) -> None:
    locked = BaseEnvironment.from_bytes(data).locked
    _keep_inside(locked.wheels)
    for package in locked.conda:
        record_of(package)


def _keep_inside(wheels: Iterable[LockedWheel]) -> None:
    root = Path("/store")
    for wheel in wheels:
        path = WheelStore(root).path(wheel).resolve()
        assert path == root / wheel.sha256 / wheel.file_name, "it names another file"


def _locations(data: bytes) -> None:
    text = data.decode(errors="replace")
    for parse in (parse_target, parse_base):
        with suppress(DbimageError):
            parse(text)


def _delivery(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(": ") for line in head.decode(errors="replace").splitlines()]
    headers = {name.lower(): value for name, _, value in lines}
    trust = Trust(secrets=("secret",))
    for check in (lambda: check_mlflow(headers, body, trust, 0.0), lambda: check_databricks(headers, body, trust)):
        with suppress(Refused):
            check()


def _events(data: bytes) -> None:
    with suppress(DbimageError):
        from_mlflow(data, delivery=None, received=0.0)
    with suppress(DbimageError):
        from_databricks(data, received=0.0)


_DIGEST = "sha256:" + "0" * 64
_CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": {"Env": ["A=b"], "Labels": {"a": "b"}}, "history": [{"created_by": "x"}]}'
_MANIFEST = (
    b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": %s, "layers": []}'
)
_REFERRERS = json.dumps(
    {
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": _DIGEST, "size": 2, "artifactType": "a/b", "annotations": {}}
        ]
    }
).encode()
_CONDA = b"channels: [conda-forge]\ndependencies: [python=3.11.7, pip, {pip: [mlflow==3.1.0]}]\n"
_MLMODEL = b"""\
flavors:
  python_function: {env: {conda: conda.yaml}, loader_module: mlflow.sklearn, python_version: 3.11.7, data: conda.yaml}
mlflow_version: 3.1.0
signature: {inputs: '[{"name": "a", "type": "double"}]'}
utc_time_created: '2026-06-01 12:00:00.000000'
"""
_PYLOCK = b"""\
lock-version = "1.0"
created-by = "uv"
[[packages]]
name = "six"
version = "1.16.0"
wheels = [{ url = "https://x.example/six-1.16.0-py2.py3-none-any.whl", hashes = { sha256 = "00" } }]
"""
_LOCKED_WHEELS = b"""\
[[packages]]
name = "six"
version = "1.16.0"
wheels = [{ name = "six-1.16.0-py2.py3-none-any.whl", size = 3, hashes = { sha256 = "%s" } }]
""" % (b"0" * 64)
_LOCKED_CONDA = (
    b"# platform: linux-64\n@EXPLICIT\nhttps://conda.anaconda.org/conda-forge/linux-64/python-3.11.7-h1_0.conda#sha256:%s\n"
    % (b"0" * 64)
)
_INVENTORY = json.dumps(
    {
        "version": 1,
        "prefix": "/opt/dbimage/env",
        "bytecode": "all",
        "files": {"opt/dbimage/env/bin/python": ["link", 511, "python3"]},
        "lock": {
            "version": 1,
            "platform": "linux/amd64",
            "python": "3.11.7",
            "conda": [
                {
                    "name": "python",
                    "version": "3.11.7",
                    "build": "h1_0",
                    "build_number": 0,
                    "subdir": "linux-64",
                    "file_name": "python-3.11.7-h1_0.conda",
                    "sha256": "0" * 64,
                    "size": 1,
                    "channel": "conda-forge",
                    "canonical_url": "https://conda.anaconda.org/conda-forge/linux-64/python-3.11.7-h1_0.conda",
                    "url": "https://conda.anaconda.org/conda-forge/linux-64/python-3.11.7-h1_0.conda",
                    "metadata": {"depends": ["zlib"], "md5": "0" * 32, "timestamp": 1, "noarch": "generic"},
                }
            ],
            "wheels": [
                {
                    "name": "six",
                    "version": "1.16.0",
                    "file_name": "six-1.16.0-py2.py3-none-any.whl",
                    "sha256": "0" * 64,
                    "size": 3,
                    "url": None,
                    "path": None,
                    "built_from": {"kind": "git", "location": "https://x.example/six.git", "commit": "0" * 40},
                    "omitted": ["bin/six"],
                }
            ],
            "decisions": [{"distribution": "six", "owner": "pip", "reason": "x"}],
            "notes": ["x"],
            "as_of": "2026-06-01T00:00:00+00:00",
            "cluster": None,
        },
    }
).encode()
_REQUIREMENTS = b"six==1.16.0 ; python_version > '3.7'\n-r other.txt\n--index-url https://u:p@x.example/simple\nx @ file:///x.whl\n"
_LAYER = _tar(
    ("opt", tarfile.DIRTYPE, "", b""),
    ("opt/tool", tarfile.REGTYPE, "", b"x"),
    ("opt/same", tarfile.LNKTYPE, "opt/tool", b""),
    ("opt/short", tarfile.SYMTYPE, "tool", b""),
    ("opt/.wh.gone", tarfile.REGTYPE, "", b""),
)
_EVENT = b'{"entity": "model_version", "action": "created", "timestamp": "2026-06-01T12:00:00Z", "data": {"name": "m", "version": "3", "source": "x", "tags": {}}}'
_DATABRICKS = (
    b'{"event": "MODEL_VERSION_CREATED", "model_name": "m", "version": "3", "event_timestamp": 1, "text": "x"}'
)

TARGETS: Mapping[str, Target] = {
    "layer-unpacked": Target(read=_unpack, seeds=(_LAYER,)),
    "layer-listed": Target(read=_list, seeds=(_LAYER,)),
    "docker-archive": Target(
        read=lambda data: _written(data, "x.tar", lambda path: read_archive(path, path.parent)),
        seeds=(
            _tar(
                ("manifest.json", tarfile.REGTYPE, "", b'[{"Config": "c", "Layers": []}]'),
                ("c", tarfile.REGTYPE, "", _CONFIG),
            ),
        ),
    ),
    "index": Target(read=_layout("index"), seeds=(_REFERRERS,)),
    "manifest": Target(read=_layout("manifest"), seeds=(_MANIFEST % b"{}",)),
    "config": Target(read=_layout("config"), seeds=(_CONFIG,)),
    "referrers": Target(read=read_referrers, seeds=(_REFERRERS,)),
    "artifact": Target(read=contents_of, seeds=(_MANIFEST % b"{}",)),
    "wheel": Target(read=_contents, seeds=(_wheel(),)),
    "wheel-record": Target(read=_wheel_with("RECORD"), seeds=(b"x/__init__.py,,\nx-1.0.dist-info/RECORD,,\n",)),
    "wheel-metadata": Target(
        read=_wheel_with("METADATA"), seeds=(b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",)
    ),
    "wheel-scripts": Target(read=_wheel_with("entry_points.txt"), seeds=(b"[console_scripts]\nx = x:main [a]\n",)),
    "yaml": Target(read=load, seeds=(_CONDA, _MLMODEL, b"a: &a [1]\nb: *a\nc: {<<: *a}\n")),
    "conda.yaml": Target(read=lambda data: _written(data, "conda.yaml", read_file), seeds=(_CONDA,)),
    "requirements.txt": Target(
        read=lambda data: _written(data, "requirements.txt", read_file), seeds=(_REQUIREMENTS,)
    ),
    "pylock.toml": Target(read=lambda data: _written(data, "pylock.toml", read_file), seeds=(_PYLOCK,)),
    "lock-files": Target(read=_lock_files, seeds=(_LOCKED_WHEELS, _LOCKED_CONDA)),
    "base-environment": Target(read=_base_environment, seeds=(_INVENTORY,)),
    "MLmodel": Target(read=_model, seeds=(_MLMODEL,)),
    "location": Target(
        read=_locations,
        seeds=(
            b"//host:5000/a/b:tag",
            b"oci:/x:tag",
            b"docker-archive:x",
            b"rootfs:x.tar.gz",
            b"docker://u@[::1]/a",
        ),
    ),
    "delivery": Target(
        read=_delivery,
        seeds=(
            b"X-MLflow-Signature: v1,AAAA\nX-MLflow-Delivery-Id: a\nX-MLflow-Timestamp: 7\n\n{}",
            b"x-databricks-signature: 00\n\n{}",
        ),
    ),
    "event": Target(read=_events, seeds=(_EVENT, _DATABRICKS)),
    "envelope": Target(
        read=Envelope.from_bytes,
        seeds=(b'{"payloadType": "a/b", "payload": "e30=", "signatures": [{"keyid": "x", "sig": "AAAA"}]}',),
    ),
    "statement": Target(
        read=Statement.from_bytes,
        seeds=(
            b'{"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "x", "digest": {"sha256": "%s"}}], "predicateType": "a", "predicate": {}}'
            % (b"0" * 64),
        ),
    ),
}
