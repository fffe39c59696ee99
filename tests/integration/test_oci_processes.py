"""Images and layouts as several processes see them: equal bytes, writers at once, killed writers, flat memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX, small_image

CLONE = Path(__file__).resolve().parents[2]

BUILD = """
import io, os, sys
from pathlib import Path
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.docker_archive import write_archive
from mlflow_dbimage.oci.image import Addition, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.tar import file_entry, sorted_with_parents, symlink_entry
from oci_samples import small_image

os.umask(int(sys.argv[1], 8))
here = Path(sys.argv[2])
here.mkdir()
(here / "source").mkdir()
(here / "source" / "file").write_bytes(b"content")
names = {f"opt/names/{number}" for number in range(50)}  # a set: its order is that of the hash seed
entries = [file_entry(name, name.encode(), 0o644) for name in names]
entries += [file_entry("opt/größe", here / "source" / "file", 0o640), symlink_entry("opt/link", "größe")]
base = small_image(here / "blobs")
for compression in Compression:
    layer = write_layer(sorted_with_parents(entries, {"opt": (0o750, 0, 0)}), here / "blobs", compression)
    labels = {name: "x" for name in names}
    added = Addition(layer=as_layer(layer), created_by="a test", comment="ß")
    image = append(base, [added], RunConfig(labels=labels, environment={"A": "ß"}), annotations=labels)
    archive = io.BytesIO()
    write_archive(image, ["churn:1"], archive)
    print(image.digest, layer.diff_id, Digest.of(archive.getvalue()))
"""

WRITE = """
import sys
from pathlib import Path
from mlflow_dbimage.oci.layout import Layout
from oci_samples import small_image

layout, blobs, name = Layout(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
for number in range(8):
    # odd ones are the same for every writer, so that they race for the same blobs
    image = small_image(blobs, seed=f"{name if number % 2 else 'shared'}{number}", size=300_000)
    layout.write_image(image)
    layout.set_tags({f"{name}-{number}": image.descriptor, f"{name}-latest": image.descriptor})
    layout.set_tags({f"{name}-{number - 1}": None})
"""

STALL = """
import dataclasses, io, sys, time
from pathlib import Path
from mlflow_dbimage.oci.layout import Layout
from oci_samples import small_image

class Stalling(io.BytesIO):
    def read(self, size=-1):
        data = super().read(100_000)
        if not data:
            print("stalled", flush=True)
            time.sleep(600)
        return data

image = small_image(Path(sys.argv[2]), size=500_000)
first, *rest = image.layers
data = first.open().read()
stalling = dataclasses.replace(first, open=lambda: Stalling(data))
Layout(Path(sys.argv[1])).write_image(dataclasses.replace(image, layers=(stalling, *rest)))
"""

PUSH = """
import io, resource, sys
from pathlib import Path
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.image import Addition, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.tar import EntryKind, TarEntry
from oci_samples import LINUX, noise, small_image

SIZE = 200 << 20
PIECE = noise("memory", 1 << 20)

class Noise(io.RawIOBase):
    left = SIZE
    def read(self, size=-1):
        count = min(size, self.left, len(PIECE))
        self.left -= count
        return PIECE[:count]

here, repository = Path(sys.argv[1]), Repository(Registry(sys.argv[2]), "memory")
small = small_image(here)
repository.push(small)  # what is imported and connected first does not count
entry = TarEntry(path="noise", kind=EntryKind.FILE, mode=0o644, size=SIZE, content=Noise)
layer = as_layer(write_layer([entry], here, Compression.GZIP))
assert layer.descriptor.size > 0.9 * SIZE
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = append(small, [Addition(layer=layer, created_by="a test")], RunConfig())
repository.push(image)
back = repository.image(str(image.digest), LINUX)
with back.layers[-1].open() as blob:
    while blob.read(1 << 20):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def surroundings(**variables: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(CLONE), str(CLONE / "tests")]), **variables}


def start(script: str, *arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=surroundings(**variables),
    )


def output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def test_equal_inputs_give_equal_bytes_whatever_the_process(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = [
        output(start(BUILD, "022", tmp_path / "one", PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C.UTF-8")),
        output(start(BUILD, "077", tmp_path / "two", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C")),
        output(start(BUILD, "000", tmp_path / "three", cwd=elsewhere, PYTHONHASHSEED="3", SOURCE_DATE_EPOCH="0")),
    ]
    assert len(made[0].split()) == 6
    assert made[1:] == [made[0], made[0]]


def test_concurrent_writers_lose_nothing_and_a_reader_never_sees_half(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    writers = [start(WRITE, layout.path, tmp_path / f"blobs-{name}", name) for name in ("ann", "bob", "eve")]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        layout.garbage_collect()
        for tag, descriptor in layout.tags().items():
            image = layout.image(descriptor.digest, LINUX)
            assert problems(image) == (), tag
            seen += 1
    for writer in writers:
        output(writer)
    assert seen
    expected = {f"{name}-{end}" for name in ("ann", "bob", "eve") for end in ("7", "latest")}
    assert set(layout.tags()) == expected
    assert all(problems(layout.image(tag, LINUX)) == () for tag in expected)


def test_a_killed_writer_leaves_no_name_and_its_remains_are_collected(tmp_path: Path) -> None:
    image = small_image(tmp_path / "blobs", size=500_000)
    layout = Layout(tmp_path / "layout")
    process = start(STALL, layout.path, tmp_path / "blobs")
    assert process.stdout is not None
    assert process.stdout.readline() == "stalled\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert layout.tags() == {}
    assert not layout.has_blob(image.layers[0].descriptor.digest)
    layout.write_image(image)
    layout.set_tags({"v1": image.descriptor})
    assert problems(layout.image("v1", LINUX)) == ()
    remains = set(layout.path.glob(".aside-*"))
    assert len(remains) == 1
    assert layout.garbage_collect() == 0
    for path in remains:
        two_hours_ago = time.time() - 7200
        os.utime(path, (two_hours_ago, two_hours_ago))
    assert layout.garbage_collect() > 0
    assert set(layout.path.glob(".aside-*")) == set()
    assert problems(layout.image("v1", LINUX)) == ()


@pytest.mark.slow
@pytest.mark.registry
def test_pushing_and_pulling_a_large_layer_takes_no_memory(registry, tmp_path: Path) -> None:
    kilobytes = int(output(start(PUSH, tmp_path, registry.host)))
    assert kilobytes < 40_000
