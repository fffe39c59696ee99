"""A lock installed whole, without a base: what an overlay of the same lock must be equal to, byte for byte."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow_dbimage import pipeline
from mlflow_dbimage.backends import default_tools
from mlflow_dbimage.backends.layer_unpacking import unpack_layer
from mlflow_dbimage.build_request import BuildRequest
from mlflow_dbimage.environment_layers import EnvironmentWish, obtain
from mlflow_dbimage.model_layers import LayerStyle
from mlflow_dbimage.oci.compression import Compression
from mlflow_dbimage.oci.image import Layer
from mlflow_dbimage.oci.tar import MTIME
from mlflow_dbimage.progress import SilentProgress
from mlflow_dbimage.settings_sources import Surroundings

Tree = dict[str, tuple[str, int, str]]


def install_whole(model: Path, given: Mapping[str, str], environment: Mapping[str, str], root: Path) -> str:
    """Install the lock of a planned overlay whole, below a folder that stands for the image's root.

    Args:
        model: The model.
        given: The keys with which the overlay is built.
        environment: The variables with which the command runs.
        root: An empty folder.

    Returns:
        The digest of the lock.
    """
    surroundings = Surroundings(environment=environment, directory=root.parent, user_file=root / "none.toml")
    request = BuildRequest.from_strings(None, str(model), given, surroundings=surroundings)
    tools = default_tools(request.settings, SilentProgress())
    with pipeline.plan(request, tools) as planned, tools.makers.cache.work_directory() as work:
        wish = EnvironmentWish(
            locked=planned.locked,
            prefix=planned.layout.prefix,
            spec=None,
            platform=request.platform,
            bytecode="all",
            budget=12,
            style=LayerStyle(
                directory=tools.makers.cache.directory("blobs"), compression=Compression.GZIP, parents={}
            ),
        )
        made = obtain(wish, tools.makers, lambda blobs: {blob.digest for blob in blobs}, work, SilentProgress())
    cache = tools.makers.cache
    unpack_all(
        [
            Layer(
                descriptor=each.descriptor,
                diff_id=each.diff_id,
                open=lambda digest=each.descriptor.digest: cache.open_blob(digest),  # type: ignore[misc]
            )
            for each in made.layers
        ],
        root,
    )
    return str(planned.locked.digest)


def unpack_all(layers: Iterable[Layer], root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        unpack_layer(layer, root)


def states(root: Path) -> Tree:
    """Return kind, mode and content of all that is below a folder; every file has the constant time."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name, mode = path.relative_to(root).as_posix(), stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = ("link", 0, str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", mode, "")
        else:
            assert path.stat().st_mtime == MTIME, name
            found[name] = ("file", mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found
