"""Whether the layers of an image can lie on another base as they are, and if not, why: for `rebase_pipeline`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mlflow_dbimage import base_environment, model_layers
from mlflow_dbimage.base_environment import BaseEnvironment
from mlflow_dbimage.base_image import BaseImage
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.cluster_python import ClusterPython
from mlflow_dbimage.errors import MatchError
from mlflow_dbimage.locked_env import LockedEnv
from mlflow_dbimage.oci.image import Image

_MOST_PACKAGES = 10


def misfits(
    record: ImageRecord, image: Image, base: BaseImage, read_python: Callable[[Image], ClusterPython]
) -> tuple[str, ...]:
    """Return every reason against a base.

    Args:
        record: Of the image.
        image: On the base that it has now.
        base: The one that it is to have.
        read_python: Reads the cluster's own Python of a base; raises as `cluster_python.fetch`.

    Raises:
        InputError: `base-invalid`, from reading the environment of a golden base.
    """
    return (
        *_strangers(record, base),
        *_glibc(record, base),
        *_directories(record, base),
        *_environment(record, image, base, read_python),
    )


def _strangers(record: ImageRecord, base: BaseImage) -> list[str]:
    if ImageRecord.from_labels(base.image.labels) is not None:
        return ["it is the image of a model, whose files would show through"]
    return []


def _glibc(record: ImageRecord, base: BaseImage) -> list[str]:
    if _version(base.glibc) >= _version(record.glibc):
        return []
    return [f"its glibc is {base.glibc}, and the environment was solved for {record.glibc}"]


def _directories(record: ImageRecord, base: BaseImage) -> list[str]:
    there = model_layers.stated_parents(base.parents, record.environment_prefix)
    return [
        f"its `/{path}` is {_owner(there[path])}, and the layers would make it {_owner(stated)}"
        for path, stated in record.parents.items()
        if there[path] != stated
    ]


def _environment(
    record: ImageRecord, image: Image, base: BaseImage, read_python: Callable[[Image], ClusterPython]
) -> list[str]:
    """Hold what an image takes from its base's environment against the new base's."""
    if record.env_layout == "isolated":
        return []  # what a golden base has at the same place is hidden
    if record.env_layout == "cluster":
        return _python_differences(record, image, base, read_python)
    old, new = base_environment.read(image), base_environment.read(base.image)
    if old is None or new is None:
        return ["the image has only what differs from its golden base, and this is no golden base"]
    return _differences(old, new)


def _python_differences(
    record: ImageRecord, image: Image, base: BaseImage, read_python: Callable[[Image], ClusterPython]
) -> list[str]:
    """Hold the Python among whose packages the model's are against that of another base."""
    try:
        new = read_python(base.image)
    except MatchError as error:
        return [error.message]
    old = read_python(replace(image, layers=image.layers[: record.base_layers]))
    if old.digest == new.digest:
        return []
    before = {name: each.version for name, each in old.distributions.items()}
    after = {name: each.version for name, each in new.distributions.items()}
    files = len(old.paths ^ new.paths)
    shown = _changed({"python": old.python, **before}, {"python": new.python, **after})
    return [f"its own Python differs in {files} paths from the one that the image was made for: {shown}"]


def _differences(old: BaseEnvironment, new: BaseEnvironment) -> list[str]:
    if old.prefix != new.prefix:
        return [f"its environment is at `{new.prefix}`, and the image changes the one at `{old.prefix}`"]
    if old.files == new.files:
        return []
    files = sum(1 for path in old.files.keys() | new.files.keys() if old.files.get(path) != new.files.get(path))
    shown = _changed(_packages(old.locked), _packages(new.locked))
    return [f"its environment differs in {files} files from the one that the image was made for: {shown}"]


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    changed = [
        f"{name} {before.get(name, 'not there')} -> {after.get(name, 'not there')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    more = f" and {len(changed) - _MOST_PACKAGES} more" if len(changed) > _MOST_PACKAGES else ""
    return ", ".join(changed[:_MOST_PACKAGES]) + more


def _packages(locked: LockedEnv) -> dict[str, str]:
    conda = {each.name: f"{each.version} {each.build}" for each in locked.conda}
    return conda | {each.name: each.version for each in locked.wheels}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _owner(owner: tuple[int, int, int]) -> str:
    mode, uid, gid = owner
    return f"{mode:o} of {uid}:{gid}"
