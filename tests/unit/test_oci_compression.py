"""Codecs of layers."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.oci.compression import (
    Compression,
    damage_of,
    open_decompressed,
    opened_tar,
    sniffed_media_type,
)
from mlflow_dbimage.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD
from oci_samples import noise

BOTH = pytest.mark.parametrize("compression", list(Compression))
TEXT = b"the same words again and again, " * 3000 + noise("text", 3000)


def compressed(compression: Compression, *chunks: bytes) -> bytes:
    compressor = compression.compressor()
    return b"".join([*(compressor.compress(chunk) for chunk in chunks), compressor.finish()])


def decompressed(data: bytes, media_type: str) -> bytes:
    return open_decompressed(io.BytesIO(data), media_type).read()


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("isal", "backports", "backports.zstd", "compression"):
        monkeypatch.setitem(sys.modules, name, None)


@BOTH
@given(chunks=st.lists(st.binary(max_size=3000), max_size=4))
def test_what_is_compressed_is_read_back(compression: Compression, chunks: list[bytes]) -> None:
    data = compressed(compression, *chunks)
    assert decompressed(data, compression.media_type) == b"".join(chunks)
    assert compressed(compression, *chunks) == data
    assert sniffed_media_type(data[:4]) == compression.media_type
    assert Compression.of_identity(compression.identity) is compression


@given(st.binary(max_size=3000))
def test_gzip_is_what_the_standard_library_reads(data: bytes) -> None:
    assert gzip.decompress(compressed(Compression.GZIP, data)) == data


def test_the_gzip_header_says_nothing_of_time_and_machine() -> None:
    assert compressed(Compression.GZIP, TEXT)[:10] == bytes.fromhex("1f8b08000000000000ff")


@BOTH
def test_several_members_or_frames_are_one_stream(compression: Compression) -> None:
    data = compressed(compression, TEXT) + compressed(compression) + compressed(compression, b"end")
    assert decompressed(data, compression.media_type) == TEXT + b"end"


def test_identities_name_library_version_and_level() -> None:
    assert Compression.GZIP.identity.startswith("isa-l ")
    assert Compression.GZIP.identity.endswith(" level 2")
    assert Compression.ZSTD.identity.startswith("zstd 1.")


@pytest.mark.usefixtures("no_libraries")
def test_without_isal_the_standard_library_compresses_under_another_identity() -> None:
    assert Compression.GZIP.identity == f"zlib {zlib.ZLIB_RUNTIME_VERSION} level 1"
    data = compressed(Compression.GZIP, TEXT)
    assert gzip.decompress(data) == decompressed(data, OCI_LAYER_GZIP) == TEXT
    with pytest.raises(InputError, match="it is damaged"), damage_of("it"):
        decompressed(data[:-9], OCI_LAYER_GZIP)


@pytest.mark.usefixtures("no_libraries")
def test_without_a_library_for_zstd_it_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="not installed") as caught:
        Compression.ZSTD.compressor()
    assert "mlflow-dbimage[zstd]" in str(caught.value)


def test_a_codec_is_found_by_name() -> None:
    assert [Compression.named(name) for name in ("gzip", "zstd")] == list(Compression)
    with pytest.raises(UsageError, match="known are gzip, zstd"):
        Compression.named("bzip2")


def test_an_unknown_media_type_is_refused() -> None:
    with pytest.raises(InputError, match="`text/plain`"):
        open_decompressed(io.BytesIO(), "text/plain")
    assert decompressed(b"as it is", OCI_LAYER_TAR) == b"as it is"


@BOTH
@pytest.mark.parametrize("cut", [1, 3, 11, 200, -1, -6])
def test_every_cut_is_damage(compression: Compression, cut: int) -> None:
    data = compressed(compression, TEXT)[:cut]
    with pytest.raises(InputError, match="`x` is damaged") as caught, damage_of("`x`"):
        decompressed(data, compression.media_type)
    assert caught.value.code == "base-invalid"


@pytest.mark.parametrize(("compression", "kept"), [(Compression.GZIP, 10), (Compression.ZSTD, 6)])
@pytest.mark.parametrize("nonsense", [b"z", b"\xff", b"\x06"])
def test_nonsense_after_the_header_is_damage(compression: Compression, kept: int, nonsense: bytes) -> None:
    data = compressed(compression, TEXT)[:kept] + nonsense * 100
    with pytest.raises(InputError, match="`x` is damaged"), damage_of("`x`"):
        decompressed(data, compression.media_type)


@BOTH
def test_changed_bytes_do_not_pass_unseen(compression: Compression) -> None:
    """Only gzip has a checksum at this level; for zstd the digest of the blob tells."""
    data = bytearray(compressed(compression, TEXT))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\xff\xff\xff\xff"
    try:
        with damage_of("`x`"):
            assert decompressed(bytes(data), compression.media_type) != TEXT
    except InputError as error:
        assert "is damaged" in error.message


def test_other_errors_are_not_taken_for_damage() -> None:
    with pytest.raises(OSError, match="disk"), damage_of("`x`"):
        raise OSError("the disk broke")


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("tar", TEXT),
        ("gz", gzip.compress(TEXT, mtime=0)),
        ("xz", lzma.compress(TEXT)),
        ("zst", compressed(Compression.ZSTD, TEXT)),
    ],
)
def test_a_file_is_opened_by_its_first_bytes_not_its_name(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"misleading.{suffix}.txt"
    path.write_bytes(data)
    with opened_tar(path) as stream:
        assert stream.read() == TEXT


def test_first_bytes_tell_the_codec() -> None:
    assert [sniffed_media_type(head) for head in (b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"ustar")] == [
        *(OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_LAYER_TAR)
    ]
