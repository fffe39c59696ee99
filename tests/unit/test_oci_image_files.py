"""Single files of an image: the uppermost counts, and what is hidden is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_dbimage.errors import InputError
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image_files import ImageFile, read_files
from oci_samples import foreign_tar, image_of, plain_layer

Member = tuple[str, str | bytes | None]
PATH = "etc/passwd"
LOWER: list[Member] = [("etc", None), (PATH, b"lower"), ("etc/group", b"group")]


def found(*layers: list[Member]) -> dict[str, bytes]:
    image = image_of(*(plain_layer(foreign_tar(members)) for members in layers))
    return {path: file.data for path, file in read_files(image, [PATH, "etc/group", "etc/none"]).items()}


def test_what_is_there_is_read_with_its_mode_and_owner() -> None:
    layer = plain_layer(foreign_tar([(f"./{PATH}", b"x")], mode=0o640, uid=1, gid=42))
    assert read_files(image_of(layer), [PATH]) == {PATH: ImageFile(data=b"x", mode=0o640, uid=1, gid=42)}


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([(PATH, b"upper")], {PATH: b"upper", "etc/group": b"group"}),
        ([("etc", None)], {PATH: b"lower", "etc/group": b"group"}),
        ([("etc/.wh.passwd", b"")], {"etc/group": b"group"}),
        ([("etc/.wh..wh..opq", b"")], {}),
        ([("etc/.wh..wh..opq", b""), (PATH, b"new")], {PATH: b"new"}),
        ([(".wh.etc", b"")], {}),
        ([("etc", "usr/etc")], {}),
        ([(PATH, "../run/passwd")], {"etc/group": b"group"}),
        ([(PATH, None)], {"etc/group": b"group"}),
    ],
)
def test_upper_layers_count(upper: list[Member], left: dict[str, bytes]) -> None:
    assert found(LOWER, upper) == left


def test_layers_below_what_is_found_are_not_read() -> None:
    lower, upper = plain_layer(foreign_tar(LOWER)), plain_layer(foreign_tar([(PATH, b"upper")]))
    image = image_of(lower, upper)
    closed = replace(image.layers[0], open=lambda: pytest.fail("nobody may open this layer"))
    image = replace(image, layers=(closed, image.layers[1]))
    assert read_files(image, [PATH])[PATH].data == b"upper"


def test_a_layer_that_is_another_is_refused() -> None:
    layer = plain_layer(foreign_tar(LOWER))
    image = image_of(replace(layer, diff_id=Digest.of(b"another")))
    with pytest.raises(InputError, match="diff ID"):
        read_files(image, [PATH])


def test_a_huge_file_is_refused() -> None:
    image = image_of(plain_layer(foreign_tar([(PATH, b"\0" * ((16 << 20) + 1))])))
    with pytest.raises(InputError, match="16,777,217 bytes"):
        read_files(image, [PATH])
