"""What is fuzzed: by name, a reader, and seeds that it takes. A reader may refuse; anything else is a crash."""

from __future__ import annotations

import base64
import hmac
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mlflow_dbimage import expected_output, recorded_lock
from mlflow_dbimage.backends.conda_records import channels_of, record_of
from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.backends.unpacked_wheels import UnpackedWheels
from mlflow_dbimage.backends.wheel_files import unpack
from mlflow_dbimage.backends.wheel_listing import WheelListing
from mlflow_dbimage.backends.wheels import WheelStore
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.check_report import CheckReport
from mlflow_dbimage.environment_files import read_file
from mlflow_dbimage.errors import DbimageError
from mlflow_dbimage.evidence import advisories
from mlflow_dbimage.evidence.bill_of_materials import Package, read_packages
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.evidence.image_signature import PAYLOAD_TYPE, ImageSignature, document, signature_of
from mlflow_dbimage.evidence.statement import Statement
from mlflow_dbimage.evidence.tagged_manifest import SIGNATURE_ANNOTATION, entries_of
from mlflow_dbimage.expected_output import ExpectedOutput
from mlflow_dbimage.image_location import parse_base, parse_target
from mlflow_dbimage.locking.locked_packages import LockedWheel
from mlflow_dbimage.model_reference import parse as parse_reference
from mlflow_dbimage.model_spec import read as read_model
from mlflow_dbimage.oci.artifact import contents_of, read_referrers
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, OCI_MANIFEST, Descriptor, Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import read_archive
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image, Layer
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.root_listing import read_listing
from mlflow_dbimage.prediction_comparison import compare, compare_expected
from mlflow_dbimage.safe_yaml import load
from mlflow_dbimage.service.deliveries import Refused, Trust, check_databricks, check_mlflow
from mlflow_dbimage.service.events import from_databricks, from_mlflow
from mlflow_dbimage.shared_cache import read_records
from scripts.fuzz.record_seeds import HEX, RECORDS, records


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: tuple[type[Exception], ...] = (DbimageError, ValueError, Refused)
    """How it says no."""


def outcome(target: Target, data: bytes) -> Literal["read", "refused"]:
    """Give data to a reader, and return what it did; whatever else is raised is a crash."""
    try:
        target.read(data)
    except target.refuses:
        return "refused"
    return "read"


def _any_of(*readers: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Return what reads in all ways, and refuses what every one refuses."""

    def read(data: bytes) -> None:
        if {outcome(Target(read=each, seeds=()), data) for each in readers} == {"refused"}:
            raise ValueError("nobody reads it")

    return read


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


def _described(blob: bytes) -> dict[str, object]:
    return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(blob)), "size": len(blob)}


def _index(entry: dict[str, object]) -> bytes:
    named = entry | {"annotations": {"org.opencontainers.image.ref.name": "x"}}
    return json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()


def _layout(document: str) -> Callable[[bytes], object]:
    """Read an image of which one document is fuzzed, and the others say so."""

    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            blobs = Path(folder) / "blobs" / "sha256"
            blobs.mkdir(parents=True)

            def put(blob: bytes) -> dict[str, object]:
                (blobs / Digest.of(blob).hex).write_bytes(blob)
                return _described(blob)

            config = put(data if document == "config" else _CONFIG)
            manifest = data if document == "manifest" else _MANIFEST % json.dumps(config).encode()
            entry = put(manifest)
            index = data if document == "index" else _index(entry)
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
    return _written(data, "x-1.0-py3-none-any.whl", _listed)


def _listed(wheel: Path) -> object:
    folder = wheel.parent / "unpacked"
    folder.mkdir()
    return WheelListing.from_bytes(unpack(wheel, "", folder).to_bytes(), "").contents("3.11")


def _model(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_bytes(data)
        (Path(folder) / "conda.yaml").write_bytes(_CONDA)
        return read_model(parse_reference(folder), Path(folder))


def _locked_conda(data: bytes) -> None:
    channels_of([each.channel for each in recorded_lock.read_conda(data.decode(errors="replace"))], {})


def _locked_wheels(data: bytes) -> None:
    _keep_inside(recorded_lock.read_wheels(data.decode(errors="replace")))


def _base_environment(data: bytes) -> None:
    locked = BaseEnvironment.from_bytes(data).locked
    _keep_inside(locked.wheels)
    for package in locked.conda:
        record_of(package)


def _keep_inside(wheels: Iterable[LockedWheel]) -> None:
    root = Path("/store")
    for wheel in wheels:
        path = WheelStore(root, UnpackedWheels(root)).path(wheel).resolve()
        assert path == root / wheel.sha256 / wheel.file_name, "it names another file"


def _location(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode(errors="replace"))


def _check(data: bytes) -> None:
    """Read a self-check, and hold its predictions against those of another, and against what somebody expects."""
    read = CheckReport.from_dict(read_json(data))
    known = CheckReport.from_dict(json.loads(_REPORT))
    if read.predictions is not None and known.predictions is not None:
        compare(read.predictions, read.predictions)
        compare(known.predictions, read.predictions)
        compare_expected(_EXPECTED, read.predictions)
        compare_expected(replace(_EXPECTED, textual=True), read.predictions)


def _expected(data: bytes) -> None:
    known = CheckReport.from_dict(json.loads(_REPORT)).predictions
    assert known is not None, "it predicts"

    def read(path: Path) -> None:
        compare_expected(expected_output.read(path), known)

    _written(data, "expected.json", read)


def _advisory(data: bytes) -> object:
    return advisories.find(_PACKAGES, [read_json(data)])


def _bill(data: bytes) -> object:
    return advisories.find(read_packages(data), [json.loads(_ADVISORY)])


def _signatures(data: bytes) -> object:
    entries = entries_of(data)
    if not entries:
        raise ValueError("it lists nothing")
    return [signature_of(entry) for entry in entries]


def _signed(data: bytes) -> object:
    return ImageSignature(payload=data, signature=b"").subject


def _mlflow_event(data: bytes) -> object:
    return from_mlflow(data, delivery=None, received=0.0)


def _databricks_event(data: bytes) -> object:
    return from_databricks(data, received=0.0)


def _delivery(check: Callable[[Mapping[str, str], bytes, Trust], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        head, _, body = data.partition(b"\n\n")
        lines = [line.partition(": ") for line in head.decode(errors="replace").splitlines()]
        return check({name.lower(): value for name, _, value in lines}, body, Trust(secrets=("secret",)))

    return read


_DIGEST = "sha256:" + "0" * 64
_CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": {"Env": ["A=b"], "Labels": {"a": "b"}}, "history": [{"created_by": "x"}]}'
_MANIFEST = (
    b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": %s, "layers": []}'
)
_WHOLE = _MANIFEST % json.dumps(_described(_CONFIG)).encode()
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
_REQUIREMENTS = b"six==1.16.0 ; python_version > '3.7'\n--index-url https://x.example/simple\nx @ https://x.example/x-1.0-py3-none-any.whl\n"
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

_REPORT = b"""{"version": 1, "python": "3.11.7", "directory": "/m", "watched": true, "load_seconds": 1.5, "predict_seconds": 0.1,
"peak_memory": 7, "loaded_size": 9, "imports": [{"module": "numpy", "seconds": 1.0, "own_seconds": 0.5}],
"modules": {"numpy": null}, "distributions": {"numpy": "1.26.4"}, "network": [], "writes": [], "example": "x.json",
"predictions": {"columns": ["a", "b"], "types": ["float64", "text"], "row_count": 2, "rows":
[[{"$float": "nan"}, {"$text": "x", "$type": "C"}], [1.5, [1, {"$decimal": "1.0"}, null, {"k": true}]]]},
"repeated": {"row": 0, "column": "a", "first": {"$float": "inf"}, "second": 2}, "error": {"stage": "load", "type": "E",
"message": "m", "traceback": [], "chain": [{"type": "E", "message": "m", "module": "x", "errno": 2, "path": "/p"}]}}"""
_EXPECTED = ExpectedOutput(
    columns={"a": (None, 7), "b": ("x", [1, "1.0", None, {"k": True}])}, row_count=2, textual=False
)
_ADVISORY = b"""{"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "bad", "database_specific": {"severity": "HIGH"},
"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}], "affected": [
{"package": {"ecosystem": "PyPI", "name": "toy"}, "versions": ["1.0"], "ranges": [{"type": "ECOSYSTEM", "events":
[{"introduced": "0"}, {"fixed": "1.1"}, {"last_affected": "2"}]}]},
{"package": {"ecosystem": "Debian:12", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "3.1-1"}]}]}]}"""
_PACKAGES = (
    Package(manager="pip", name="toy", version="1.0", purl="pkg:pypi/toy@1.0"),
    Package(
        manager="system", name="openssl", version="3.0-1", purl="pkg:deb/debian/openssl@3.0-1?distro=debian-12"
    ),
)
_BILL = b"""{"components": [{"name": "toy", "version": "1.0", "purl": "pkg:pypi/toy@1.0",
"hashes": [{"alg": "SHA-256", "content": "00"}],
"licenses": [{"license": {"id": "MIT"}}, {"expression": "MIT"}]}]}"""
_SIGNATURES = json.dumps(
    {
        "config": {},
        "layers": [
            {
                "mediaType": PAYLOAD_TYPE,
                "digest": _DIGEST,
                "size": 2,
                "annotations": {SIGNATURE_ANNOTATION: "AAAA"},
            }
        ],
    }
).encode()

_OF_MLFLOW = b"X-MLflow-Signature: v1,%s\nX-MLflow-Delivery-Id: a\nX-MLflow-Timestamp: 7\n\n{}" % base64.b64encode(
    hmac.digest(b"secret", b"a.7.{}", "sha256")
)
_OF_DATABRICKS = b"x-databricks-signature: %s\n\n{}" % hmac.digest(b"secret", b"{}", "sha256").hex().encode()

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


def _records(kind: str) -> Callable[[bytes], object]:
    return lambda data: read_records(data, kind, HEX)


TARGETS: Mapping[str, Target] = {
    "self-check": Target(read=_check, seeds=(_REPORT,)),
    "expected": Target(
        read=_expected, seeds=(b'[{"a": 1.5, "b": "x"}, {"a": null, "b": [1]}]', b'{"a": [1], "b": [{"k": [2]}]}')
    ),
    "advisory": Target(read=_advisory, seeds=(_ADVISORY,)),
    "bill-of-materials": Target(read=_bill, seeds=(_BILL,)),
    "signatures": Target(read=_signatures, seeds=(_SIGNATURES,)),
    "signed-image": Target(read=_signed, seeds=(document(Digest.of(b""), "registry.example/churn"),)),
    "lock-files": Target(read=_any_of(_locked_conda, _locked_wheels), seeds=(_LOCKED_WHEELS, _LOCKED_CONDA)),
    "base-environment": Target(read=_base_environment, seeds=(_INVENTORY,)),
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
    "index": Target(read=_layout("index"), seeds=(_index(_described(_WHOLE)),)),
    "manifest": Target(read=_layout("manifest"), seeds=(_WHOLE,)),
    "config": Target(read=_layout("config"), seeds=(_CONFIG,)),
    "referrers": Target(read=read_referrers, seeds=(_REFERRERS,)),
    "records": Target(
        read=_any_of(*map(_records, RECORDS)), seeds=tuple(records(*found) for found in RECORDS.values())
    ),
    "artifact": Target(read=contents_of, seeds=(_MANIFEST % b"{}",)),
    "wheel": Target(read=_contents, seeds=(_wheel(),)),
    "wheel-record": Target(read=_wheel_with("RECORD"), seeds=(b"x/__init__.py,,\nx-1.0.dist-info/RECORD,,\n",)),
    "wheel-metadata": Target(
        read=_wheel_with("METADATA"), seeds=(b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",)
    ),
    "wheel-scripts": Target(read=_wheel_with("entry_points.txt"), seeds=(b"[console_scripts]\nx = x:main [a]\n",)),
    "yaml": Target(read=load, seeds=(_CONDA, _MLMODEL, b"a: &a {x: [1]}\nb: *a\nc: {<<: *a}\n")),
    "conda.yaml": Target(read=lambda data: _written(data, "conda.yaml", read_file), seeds=(_CONDA,)),
    "requirements.txt": Target(
        read=lambda data: _written(data, "requirements.txt", read_file), seeds=(_REQUIREMENTS,)
    ),
    "pylock.toml": Target(read=lambda data: _written(data, "pylock.toml", read_file), seeds=(_PYLOCK,)),
    "MLmodel": Target(read=_model, seeds=(_MLMODEL,)),
    "location": Target(
        read=_any_of(_location(parse_target), _location(parse_base)),
        seeds=(
            b"//host:5000/a/b:tag",
            b"oci:/x:tag",
            b"docker-archive:x",
            b"rootfs:x.tar.gz",
            b"docker://[::1]:5000/a@sha256:" + b"0" * 64,
        ),
    ),
    "delivery": Target(
        read=_any_of(_delivery(partial(check_mlflow, now=0.0)), _delivery(check_databricks)),
        seeds=(_OF_MLFLOW, _OF_DATABRICKS),
    ),
    "event": Target(read=_any_of(_mlflow_event, _databricks_event), seeds=(_EVENT, _DATABRICKS)),
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
