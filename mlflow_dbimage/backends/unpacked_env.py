"""Runs an image without an engine: its own layers are unpacked, and its scoring program is started from there.

The base's layers are not needed: the environment brings its own Python, and takes the C library from this
machine. Model and environment are the image's, but for texts that name the environment's own place; the
operating system around them is not, which is why callers say which way was used. The program runs in the sandbox.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow_dbimage.backends.layer_unpacking import place_in, unpack_layer
from mlflow_dbimage.backends.sandbox import Sandbox
from mlflow_dbimage.backends.score_files import result_folder
from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.errors import InputError, MatchError, ServiceError, disk_errors
from mlflow_dbimage.image_run import Ended, How, ScoreRequest
from mlflow_dbimage.model_layers import SCORE_PATH
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import Image

_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Each place that names the prefix grows; what an image says to be a text is read whole.
_LARGEST_TEXT = 16 << 20
_PASSED_ON = ("DBIMAGE_TRACEBACK", "TZ")


class UnpackedRunner:
    """Starts scoring programs from unpacked images.

    Args:
        directory: Where unpacked images are kept, each under its digest and its user.
        sandbox: Gives what runs them.
    """

    how: How = "unpacked"

    def __init__(self, directory: Path, sandbox: Callable[[], Sandbox]) -> None:
        self._directory = directory
        self._sandbox = sandbox

    @property
    def remark(self) -> str | None:
        """Say that limits are all that confines an image here."""
        if self._sandbox().confinement != "limits":
            return None
        return "the image runs with limits, but without a sandbox: this machine allows none"

    def score(self, image: Image, request: ScoreRequest, report: Callable[[str], None]) -> Ended:
        """Run the scoring program of an image on this machine, as long as it takes.

        Raises:
            MatchError: `wrong-platform`, the image is for another kind of machine.
            InputError: `base-invalid`, the image is not one of ours; `model-stopped`, it used more than it may.
            ServiceError: `engine-failed`, the image's environment does not run without its base; `no-sandbox`.
            VerificationError: A layer lacks its digest or leaves its folder; `scoring-failed`, a result is no
                plain file.
        """
        check_platform(image.platform)
        _check_layout(_record(image))
        sandbox = self._sandbox()
        sandbox = replace(sandbox, limits=replace(sandbox.limits, seconds=math.inf))
        root = unpack(image, self._directory)
        with result_folder(request) as results:
            given = request.input.absolute()
            places = {request.input: str(given)}
            places |= {place: str(results.path / name) for place, name in results.names().items()}
            passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            ended = sandbox.run(
                [str(root / SCORE_PATH[1:]), *request.arguments(places)],
                scratch=results.path,
                environment={"PATH": _PATH, "LANG": "C.UTF-8", "TMPDIR": str(results.path), **passed_on},
                readable=[root, *_readable(given)],
                most_output=1,  # what a model prints is no message
                report=report,
            )
            if ended.code == 0:
                results.publish()
            return Ended(exit_code=ended.code, messages=ended.errors)


def check_platform(wanted: Platform) -> None:
    """Refuse images for other machines.

    Raises:
        MatchError: `wrong-platform`.
    """
    obstacle = platform_obstacle(wanted)
    if obstacle is not None:
        raise MatchError(
            "wrong-platform", f"{obstacle}, so it cannot run without an engine", hint="start a Docker engine"
        )


def platform_obstacle(wanted: Platform) -> str | None:
    """Say that an image is for other machines than this one; None where it is not."""
    machine = platform.machine()
    here = Platform(platform.system().lower(), _ARCHITECTURES.get(machine, machine))
    return None if here.accepts(wanted) else f"the image is for {wanted} and this machine is {here}"


def _check_layout(record: ImageRecord) -> None:
    if record.env_layout == "cluster":
        raise ServiceError(
            "engine-failed",
            "the image's environment is in the Python of its base, which runs only in a container",
            hint="start a Docker engine",
        )


def unpack(image: Image, directory: Path) -> Path:
    """Unpack an image's layers above the operating system, once for each user, and return the folder.

    Args:
        image: The image.
        directory: Where unpacked images are kept. What others have put there is not run.

    Raises:
        InputError: `base-invalid`, the image does not say which layers are its base's.
        ServiceError: `disk-failed`.
        VerificationError: `digest-mismatch` or `image-invalid`, a layer is not what it should be.
    """
    target = directory / f"{image.digest.hex}-{os.getuid()}"
    if _is_ours(target):
        return target
    record = _record(image)
    with disk_errors():
        directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=directory, prefix=".partial-"))
        try:
            for layer in image.layers[first_layer(image, record) :]:
                unpack_layer(layer, aside)
            _move_texts(aside, target, record.environment_prefix)
            aside.chmod(0o755)
            _publish(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return target


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and folder.stat(follow_symlinks=False).st_uid == os.getuid()


def _move_texts(root: Path, target: Path, image_prefix: str) -> None:
    """Have the texts of conda packages that name their prefix name the one that they will have here.

    Binaries that name theirs are left: the longer name has no room in them, and Python needs none.
    """
    records = place_in(root, f"{image_prefix}/conda-meta")
    moved = str(target / image_prefix[1:]).encode()
    for record in records.glob("*.json") if records is not None else ():
        for file in _texts_of(record):
            path = place_in(root, f"{image_prefix}/{file}")
            if path is None or not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
                continue
            text = path.read_bytes()
            if image_prefix.encode() in text:
                path.write_bytes(text.replace(image_prefix.encode(), moved))


def _texts_of(record: Path) -> list[str]:
    """Return the texts of a conda package that name their prefix; none where its record is no such thing."""
    try:
        listed = [] if record.is_symlink() else read_json(record.read_bytes())["paths_data"]["paths"]
        return [str(file["_path"]) for file in listed if file.get("file_mode") == "text"]
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        return []


def _record(image: Image) -> ImageRecord:
    record = ImageRecord.from_labels(image.labels)
    if record is None:
        raise InputError("base-invalid", "the image has no record of this project: it cannot run unpacked")
    return record


def first_layer(image: Image, record: ImageRecord) -> int:
    """Return the lowest layer of an image's environment: on a golden base, the base has a part of it."""
    base = BaseRecord.from_labels(image.labels) if record.env_layout == "overlay" else None
    return record.base_layers if base is None else base.system_layers


def _publish(aside: Path, target: Path) -> None:
    try:
        aside.rename(target)
    except OSError as error:
        if _is_ours(target):
            return  # another process was faster, with the same bytes
        if not target.exists():
            raise
        raise ServiceError(
            "disk-failed",
            f"`{target}` in the cache is another user's",
            hint="delete it, or name a `cache_dir` of your own",
        ) from error


def _readable(given: Path) -> list[Path]:
    """Name what a program reads of an input: in a folder of part files, links may lead elsewhere."""
    links = [path for path in given.rglob("*") if path.is_symlink()] if given.is_dir() else []
    return [given, *(link.resolve() for link in links)]
