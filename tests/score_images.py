"""Images whose scoring program is a shell script: small, and as strict as a test wants."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.model_layers import Parents
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Addition, Image, Layer, RunConfig, append
from mlflow_dbimage.oci.layer import as_layer, write_layer
from mlflow_dbimage.oci.rootfs import image_of_layer
from mlflow_dbimage.oci.tar import TarEntry, file_entry, sorted_with_parents

LINUX = Platform("linux", "amd64")
PROGRAMS = ("sh", "cat", "cp", "id", "sleep")
HEAD = """#!/bin/sh
set -u
while [ $# -gt 0 ]; do
    case $1 in --input) input=$2; shift ;; --output) output=$2; shift ;; --rejects) rejects=$2; shift ;; esac
    shift
done
"""
COPY = HEAD + 'cp "$input" "$output" && echo "read 2 rows, scored 2, rejected 0, in 0.1 s" >&2\n'


def score_image(directory: Path, script: str = COPY, files: Mapping[str, bytes] | None = None) -> Image:
    """An image of a base of this machine's programs, and of a layer with a scoring program.

    Args:
        directory: For blobs.
        script: The program.
        files: Further files of the upper layer.
    """
    base = layer_of(directory, *_programs())
    entries = [file_entry("opt/dbimage/bin/score", script.encode(), 0o755)]
    entries += [file_entry(path, data, 0o644) for path, data in (files or {}).items()]
    own = layer_of(directory, *entries)
    image = image_of_layer(
        base.descriptor, base.diff_id, lambda digest: (directory / digest.hex).open("rb"), LINUX
    )
    run = RunConfig(entrypoint=["/opt/dbimage/bin/score"], labels=record(base_layers=1).to_labels())
    return append(image, [Addition(layer=own, created_by="a test")], run)


def system_base(path: Path, *programs: str) -> Path:
    """Write a root file system with a shell, a few programs and the C library; return the tarball."""
    release = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Small"\n'
    with tarfile.open(path, "w") as archive:
        entries = {entry.path: entry for entry in (*_libraries(), *_programs(*programs))}
        for entry in [file_entry("etc/os-release", release, 0o644), *entries.values()]:
            member = tarfile.TarInfo(entry.path)
            assert entry.content is not None
            with entry.content() as stream:
                data = stream.read()
            member.size, member.mode = len(data), entry.mode
            archive.addfile(member, io.BytesIO(data))
    return path


def record(*, base_layers: int) -> ImageRecord:
    """A record that says how many layers are the base's, and nothing else that is true."""
    return ImageRecord(
        model_uri="models:/m/1",
        model_name="m",
        model_version="1",
        model_digest="sha256:" + "0" * 64,
        mlflow_version=None,
        runtime=None,
        base_reference="base",
        base_digest="sha256:" + "1" * 64,
        base_layers=base_layers,
        parents={"opt": (0o755, 0, 0), "opt/dbimage": (0o755, 0, 0)},
        platform="linux/amd64",
        glibc="2.35",
        python="3.11.7",
        lock_digest="sha256:" + "2" * 64,
        env_layout="isolated",
        environment_prefix="/opt/dbimage/env",
        packages=0,
        bytecode="none",
        bytecode_modules="sha256:" + "3" * 64,
        compressor="none",
        layers=(),
    )


def layer_of(directory: Path, *entries: TarEntry, parents: Parents | None = None) -> Layer:
    """Write a layer as we do, its blob into a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    return as_layer(write_layer(sorted_with_parents(entries, parents or {}), directory, Compression.GZIP))


def _libraries() -> list[TarEntry]:
    """What programs of an environment are linked with: the parts of the C library, and those of compilers."""
    names = ("libc", "libm", "libdl", "libpthread", "librt", "libutil", "libresolv", "libgcc_s", "libstdc++")
    found = [path for name in names for path in Path("/lib/x86_64-linux-gnu").glob(f"{name}.so.*")]
    return [file_entry(str(path)[1:], path.resolve(), 0o755) for path in found]


def _programs(*more: str) -> list[TarEntry]:
    entries = {}
    for name in (*PROGRAMS, *more):
        program = shutil.which(name, path="/usr/bin:/bin")
        assert program is not None
        entries[f"bin/{name}"] = Path(program).resolve()
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in linked.split():
            if word.startswith("/"):
                entries[word[1:]] = Path(word).resolve()
    return [file_entry(path, source, 0o755) for path, source in entries.items()]
