"""Images whose scoring program is a shell script: small, and as strict as a test wants."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append
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
    directory.mkdir(parents=True, exist_ok=True)
    base = as_layer(_layer(directory, _programs()))
    entries = [file_entry("opt/dbimage/bin/score", script.encode(), 0o755)]
    entries += [file_entry(path, data, 0o644) for path, data in (files or {}).items()]
    own = as_layer(_layer(directory, entries))
    image = image_of_layer(
        base.descriptor, base.diff_id, lambda digest: (directory / digest.hex).open("rb"), LINUX
    )
    run = RunConfig(entrypoint=["/opt/dbimage/bin/score"], labels=record(base_layers=1).to_labels())
    return append(image, [Addition(layer=own, created_by="a test")], run)


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


def _layer(directory: Path, entries: list[TarEntry]):
    return write_layer(sorted_with_parents(entries, {}), directory, Compression.GZIP)


def _programs() -> list[TarEntry]:
    entries = {}
    for name in PROGRAMS:
        program = shutil.which(name, path="/usr/bin:/bin")
        assert program is not None
        entries[f"bin/{name}"] = Path(program).resolve()
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in linked.split():
            if word.startswith("/"):
                entries[word[1:]] = Path(word).resolve()
    return [file_entry(path, source, 0o755) for path, source in entries.items()]
