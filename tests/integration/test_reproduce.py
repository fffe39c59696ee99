"""An image built again from its own record and locks, by the command: the same digest, or what differs first."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, error_of, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.build_receipt import RECORD_LABEL, ImageRecord, LayerRecord
from mlflow_dbimage.model_image import own_layers
from mlflow_dbimage.oci.compression import Compression, open_decompressed
from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR, Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.rootfs import rootfs_image
from oci_samples import LINUX
from services.registry_server import registry_server
from toy_wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.channel]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    tiny_base(folder / "base.tar")
    tiny_base(folder / "other.tar", "etc/patched")
    light_model(folder / "model", "./model.whl-dir/own-1.0-py3-none-any.whl")
    make_wheel(folder / "model" / "model.whl-dir", "own")
    return folder


@pytest.fixture(scope="module")
def bench(conda_channel, place: Path) -> Iterator[Bench]:
    """A bench on which the model is deployed as `churn`, and its caches are gone."""
    greeting_wheel(place / "wheels")
    with serve(PackageIndex(directory=place / "wheels")) as index:
        settings = light_settings(conda_channel.url, place / "base.tar", index.url)
        bench = Bench(folder=place / "bench", model=place / "model", cache=place / "cache", settings=settings)
        bench.receipt("churn", "-C", "layers=3")
        shutil.rmtree(bench.cache)
        yield bench


def record_of(image: Image) -> ImageRecord:
    record = ImageRecord.from_labels(image.labels)
    assert record is not None
    return record


def changed_layer(layer: Layer, change: Callable[[tarfile.TarInfo, bytes], bytes]) -> Layer:
    """Write a layer anew, with whatever is changed of its members."""
    out = io.BytesIO()
    with (
        layer.open() as blob,
        tarfile.open(fileobj=open_decompressed(blob, layer.descriptor.media_type), mode="r|") as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            stream = old.extractfile(member) if member.isreg() else None
            content = change(member, stream.read() if stream is not None else b"")
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    data = out.getvalue()
    descriptor = Descriptor(media_type=OCI_LAYER_TAR, digest=Digest.of(data), size=len(data))
    return Layer(descriptor=descriptor, diff_id=Digest.of(data), open=lambda: io.BytesIO(data))


def tampered(
    bench: Bench, place: Path, name: str, kind: str, change: Callable[[tarfile.TarInfo, bytes], bytes]
) -> str:
    """Deploy `churn` with another layer of a kind, as somebody would who also mends the record; return where."""
    image, base = (
        Layout(bench.target).image("churn"),
        rootfs_image(place / "base.tar", LINUX, place, Compression.GZIP),
    )
    record = record_of(image)
    own = own_layers(image, record)
    assert own is not None
    kinds = [each.kind if each.contents else "lock" for each in record.layers]
    at = max(number for number, each in enumerate(kinds) if each == kind)
    layer = changed_layer(own[at].layer, change)
    told: LayerRecord = replace(
        record.layers[at],
        digest=str(layer.descriptor.digest),
        diff_id=str(layer.diff_id),
        size=layer.descriptor.size,
    )
    layers = (*record.layers[:at], told, *record.layers[at + 1 :])
    additions: list[Addition] = [*own[:at], replace(own[at], layer=layer), *own[at + 1 :]]
    labels = replace(record, layers=layers).to_labels()
    run = RunConfig(entrypoint=image.entrypoint, labels=labels)
    made = append(base, additions, run, annotations=image.annotations)
    layout = Layout(bench.target)
    layout.write_image(made)
    layout.set_tags({name: made.descriptor})
    return f"oci:{bench.target}:{name}"


def test_in_another_cache_it_has_the_same_digest(bench: Bench, place: Path) -> None:
    image = Layout(bench.target).image("churn")
    before = sorted((bench.target / "blobs" / "sha256").iterdir())
    done = bench.run("reproduce", "churn", "--json", DBIMAGE_CACHE_DIR=str(place / "another"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["digest"], found["rebuilt"]) == (str(image.digest), str(image.digest))
    assert (found["reproduced"], found["compared"], found["difference"]) == (True, "bytes", None)
    assert found["model_from"] == "image"
    assert "the model is the image's own" in found["notes"][0]
    assert sorted((bench.target / "blobs" / "sha256").iterdir()) == before, "the destination is left alone"
    assert "installing conda packages" in done.stderr
    again = bench.run("reproduce", f"oci:{bench.target}:churn", DBIMAGE_CACHE_DIR=str(place / "another"))
    assert again.returncode == 0, again.stderr
    assert "installing conda packages" in again.stderr, "no layer is taken from the cache"
    assert "reproduced: nothing differs" in again.stdout


def test_a_layer_that_was_changed_is_named_with_path_and_field(bench: Bench, place: Path) -> None:
    def another_predict(member: tarfile.TarInfo, data: bytes) -> bytes:
        return (
            data.replace(b"return frame", b"return evil!") if member.name.endswith("greeting/loader.py") else data
        )

    def readable_by_all(member: tarfile.TarInfo, data: bytes) -> bytes:
        member.mode = 0o666 if member.name.endswith("score.py") or member.name.endswith("/job.py") else member.mode
        return data

    for kind, change, path, field in (
        ("environment", another_predict, "greeting/loader.py", "content"),
        ("scoring", readable_by_all, "mlflow_dbimage/scoring/job.py", "mode"),
    ):
        where = tampered(bench, place, f"changed-{kind}", kind, change)
        done = bench.run("reproduce", where, "--json", DBIMAGE_CACHE_DIR=str(place / "another"))
        exit_code, code, message, _ = error_of(done)
        assert (exit_code, code) == (6, "not-reproduced")
        difference = json.loads(done.stdout)["difference"]
        assert f"({kind}: " in difference["part"]
        assert difference["path"].endswith(path)
        assert difference["field"] == field
        assert difference["path"] in message


def test_a_wheel_that_the_index_swapped_is_named(bench: Bench, place: Path) -> None:
    other = make_wheel(place / "swapped", "greeting", files={"greeting/loader.py": b"evil = True\n"})
    with serve(PackageIndex(directory=other.parent)) as index:
        done = bench.run(
            "reproduce", "churn", "--json", DBIMAGE_CACHE_DIR=str(place / "fresh"), DBIMAGE_INDEX_URL=index.url
        )
    exit_code, code, message, hint = error_of(done)
    assert (exit_code, code) == (4, "package-not-found")
    assert "greeting 1.0: the index has no `greeting-1.0-py3-none-any.whl` with sha256" in message
    assert "golden base" not in message + hint


def test_a_lock_that_names_other_files_deletes_none(bench: Bench, place: Path) -> None:
    victim = place / "model" / "model.whl-dir" / "own-1.0-py3-none-any.whl"
    before = victim.read_bytes()

    def at_the_victim(member: tarfile.TarInfo, data: bytes) -> bytes:
        if not member.name.endswith("lock/pylock.toml"):
            return data
        told = Digest.of(before).hex.encode()
        assert told in data
        return data.replace(told, str(victim.parent).encode())

    where = tampered(bench, place, "hostile", "lock", at_the_victim)
    done = bench.run("reproduce", where, "--json", DBIMAGE_CACHE_DIR=str(place / "another"))
    assert victim.is_file()
    assert victim.read_bytes() == before
    exit_code, code, message, _ = error_of(done)
    assert (exit_code, code) == (3, "cannot-reproduce")
    assert "is no sha256" in message


def test_what_cannot_be_built_again_is_told(bench: Bench, place: Path) -> None:
    def told(name: str, **variables: str) -> tuple[int, str, str]:
        done = bench.run("reproduce", name, "--json", DBIMAGE_CACHE_DIR=str(place / "another"), **variables)
        return error_of(done)[:3]

    layout = Layout(bench.target)
    image = layout.image("churn")
    assert told("nobody")[:2] == (3, "not-deployed")
    exit_code, code, message = told("churn", DBIMAGE_BASE_IMAGE=f"rootfs:{place / 'other.tar'}")
    assert (exit_code, code) == (3, "cannot-reproduce")
    assert record_of(image).base_digest in message
    record = json.loads(image.labels[RECORD_LABEL])
    for name, changes, says in (
        ("old", {"format": 1}, "its record has the format 1"),
        ("cluster", {"env_layout": "cluster"}, "the cluster's own Python"),
        ("unlocked", {"lock_digest": f"sha256:{'0' * 64}"}, "its record says sha256:0000"),
        ("foreign", None, "no record that mlflow-dbimage made it"),
    ):
        label = "" if changes is None else json.dumps({**record, **changes})
        made = append(image, [], RunConfig(labels={RECORD_LABEL: label}))
        layout.write_image(made)
        layout.set_tags({name: made.descriptor})
        exit_code, code, message = told(f"oci:{bench.target}:{name}")
        assert (exit_code, code) == (3, "cannot-reproduce")
        assert says in message


@pytest.mark.registry
def test_base_and_model_come_from_their_registries(
    bench: Bench, place: Path, tmp_path_factory: pytest.TempPathFactory, tracking_uri: str
) -> None:
    for name, content in (("twin-a", b"a"), ("twin-b", b"b")):
        make_wheel(place / "wheels", name, files={"shared.py": content, f"{name[-1]}.py": b""})
    model = light_model(place / "registered", "twin-a==1.0", "twin-b==1.0")
    script = (
        "import sys, mlflow; client = mlflow.MlflowClient(); client.create_registered_model('greeter');"
        "client.create_model_version('greeter', source=sys.argv[1])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(model)], check=True, capture_output=True)
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        base = rootfs_image(place / "base.tar", LINUX, place, Compression.GZIP)
        bases = Repository(Registry(running.host), "bases/tiny")
        bases.push(base)
        bases.put_manifest("moving", base.manifest, base.media_type)
        keys = ("-C", f"base_image=//{bases.reference}:moving", "-C", "bytecode=none")
        built = bench.run("build", "models:/greeter/1", "--name", "registered", "--json", *keys)
        assert built.returncode == 0, built.stderr
        other = rootfs_image(place / "other.tar", LINUX, place, Compression.GZIP)
        bases.push(other)
        bases.put_manifest("moving", other.manifest, other.media_type)
        fresh = {"DBIMAGE_CACHE_DIR": str(place / "registered-cache"), "DBIMAGE_BASE_IMAGE": ""}
        done = bench.run("reproduce", "registered", "--json", **fresh)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert (found["model_from"], found["rebuilt"]) == ("registry", json.loads(built.stdout)["digest"])
        (model / "MLmodel").write_text((model / "MLmodel").read_text() + "# changed after it was registered\n")
        done = bench.run("reproduce", "registered", "--json", **fresh)
    assert error_of(done)[:2] == (6, "not-reproduced")
    difference = json.loads(done.stdout)["difference"]
    assert (difference["path"], difference["field"]) == ("opt/dbimage/model/MLmodel", "size")


def test_contents_are_compared_where_another_compressor_wrote(bench: Bench, place: Path) -> None:
    layout = Layout(bench.target)
    image = layout.image("churn")
    record = json.loads(image.labels[RECORD_LABEL])
    made = append(image, [], RunConfig(labels={RECORD_LABEL: json.dumps({**record, "compressor": "isa-l 0.1"})}))
    layout.write_image(made)
    layout.set_tags({"elsewhere": made.descriptor})
    where = f"oci:{bench.target}:elsewhere"
    done = bench.run("reproduce", where, "--json", DBIMAGE_CACHE_DIR=str(place / "another"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["reproduced"], found["compared"]) == (True, "contents")
    assert found["digest"] != found["rebuilt"]
    assert any("`isa-l 0.1` compressed the image" in note for note in found["notes"])
