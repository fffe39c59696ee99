"""Images from tarballs of root file systems."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.compression import Compression, open_decompressed
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.rootfs import rootfs_image
from oci_samples import LINUX, foreign_tar, noise

TAR = foreign_tar(
    [("./", None), ("./bin", None), ("./bin/bash", noise("bash", 300_000)), ("./sh", "bin/bash")], uid=7
)


def zstd(data: bytes) -> bytes:
    compressor = Compression.ZSTD.compressor()
    return compressor.compress(data) + compressor.finish()


def plain(data: bytes) -> bytes:
    return data


EVERY = pytest.mark.parametrize("compress", [plain, gzip.compress, lzma.compress, zstd])


@EVERY
@pytest.mark.parametrize("compression", list(Compression))
def test_the_tar_stream_stays_as_it_is(
    compress: Callable[[bytes], bytes], compression: Compression, tmp_path: Path
) -> None:
    path, blobs = tmp_path / "rootfs", tmp_path / "blobs"
    path.write_bytes(compress(TAR))
    blobs.mkdir()
    image = rootfs_image(path, LINUX, blobs, compression)
    (layer,) = image.layers
    assert layer.diff_id == Digest.of(TAR)
    with layer.open() as stream:
        data = stream.read()
    assert layer.descriptor.digest == Digest.of(data)
    assert [file.name for file in blobs.iterdir()] == [Digest.of(data).hex]
    with layer.open() as stream:
        assert open_decompressed(stream, compression.media_type).read() == TAR


def test_equal_trees_give_equal_images_however_they_came(tmp_path: Path) -> None:
    images = []
    for position, compress in enumerate((plain, gzip.compress, lzma.compress, zstd)):
        path = tmp_path / f"{position}.tar"
        path.write_bytes(compress(TAR))
        images.append(rootfs_image(path, LINUX, tmp_path, Compression.GZIP).digest)
    assert len(set(images)) == 1


def test_the_config_says_what_a_shell_needs(tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(TAR)
    image = rootfs_image(path, Platform("linux", "arm64", "v8"), tmp_path, Compression.GZIP)
    config = json.loads(image.config)
    assert (config["created"], config["config"]["Cmd"]) == ("1980-01-01T00:00:01Z", ["bash"])
    assert image.environment["PATH"].endswith(":/usr/bin:/sbin:/bin")
    assert str(image.platform) == "linux/arm64/v8"


def test_an_empty_tarball_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(bytes(1024))
    with pytest.raises(InputError, match="is empty"):
        rootfs_image(path, LINUX, tmp_path, Compression.GZIP)
    assert list(tmp_path.iterdir()) == [path]


@EVERY
@pytest.mark.parametrize("data", [b"", b"no tar archive at all " * 100])
def test_what_is_no_tarball_is_refused(compress: Callable[[bytes], bytes], data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(compress(data))
    with pytest.raises(InputError) as caught:
        rootfs_image(path, LINUX, tmp_path, Compression.GZIP)
    assert caught.value.code == "base-invalid"
    assert str(path) in caught.value.message
    assert list(tmp_path.iterdir()) == [path]


@EVERY
def test_a_tarball_that_ends_early_is_refused(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    whole = compress(TAR)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        rootfs_image(path, LINUX, tmp_path, Compression.GZIP)
    assert list(tmp_path.iterdir()) == [path]


def test_a_codec_that_we_do_not_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar.bz2"
    path.write_bytes(bz2.compress(TAR))
    with pytest.raises(InputError, match="is damaged"):
        rootfs_image(path, LINUX, tmp_path, Compression.GZIP)


def test_a_tarball_without_an_end_is_a_tarball(tmp_path: Path) -> None:
    """Some writers leave the two empty blocks out, and every engine reads what they write."""
    path = tmp_path / "rootfs.tar"
    path.write_bytes(TAR.rstrip(b"\0") + bytes(-len(TAR.rstrip(b"\0")) % 512))
    (layer,) = rootfs_image(path, LINUX, tmp_path, Compression.GZIP).layers
    assert layer.diff_id == Digest.of(path.read_bytes())
