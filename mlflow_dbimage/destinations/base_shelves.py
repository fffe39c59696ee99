"""Golden bases in a layout, a registry, a Docker engine and an archive."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mlflow_dbimage.base_record import BASE_LABEL
from mlflow_dbimage.destinations.deployment import INDEX_NAME
from mlflow_dbimage.destinations.engine import Engine
from mlflow_dbimage.destinations.golden_bases import BaseTags, GoldenBase, base_of, record_of_base
from mlflow_dbimage.destinations.noted_names import NotedNames
from mlflow_dbimage.errors import InputError, disk_errors
from mlflow_dbimage.oci.artifact import is_tag_of_digest
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.oci.docker_archive import archive_names, read_archive, write_archive
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.layout import Layout
from mlflow_dbimage.oci.registry import Registry, Repository
from mlflow_dbimage.oci.tombstone import is_tombstone
from mlflow_dbimage.progress import Progress

_FOLDER = "bases"


class LayoutBases:
    """Golden bases in an OCI layout.

    Args:
        path: Of the layout.
        tags: How tags are made: with names.
    """

    def __init__(self, path: Path, tags: BaseTags) -> None:
        self._path = path
        self._layout = Layout(path)
        self._tags = tags

    def bases(self) -> tuple[GoldenBase, ...]:
        """List them, by name."""
        there = self._layout.tags()
        found = (
            self._described(name, self._layout.image(tag), self._tags.of_name(name, there))
            for name in self._tags.names(there)
            for tag in self._tags.listed(name, there)
        )
        return tuple(each for each in found if each is not None)

    def put(self, name: str, image: Image, progress: Progress) -> GoldenBase:
        """Write a base and set its tags in one rename of the index."""
        lacking = [layer for layer in image.layers if not self._layout.has_blob(layer.descriptor.digest)]
        with progress.step(f"writing `oci:{self._path}`") as step:
            step.total(sum(layer.descriptor.size for layer in lacking))
            self._layout.write_image(image, step.advance)
        tags = self._tags.tags(name, image.digest)
        self._layout.set_tags(dict.fromkeys(tags, image.descriptor))
        return _golden(self._described(name, image, tags))

    def _described(self, name: str, image: Image, tags: tuple[str, ...]) -> GoldenBase | None:
        return base_of(name, f"oci:{self._path.resolve()}@{image.digest}", image, tags)


class RegistryBases:
    """Golden bases in a registry: a repository each, or in one with all else.

    Args:
        registry: The registry.
        prefix: Path below which the repositories are; may be empty.
        shared: The repository of everything, where the site has but one; else None.
        tags: How tags are made: with names in a shared repository.
        platform: Of the images.
    """

    def __init__(
        self, registry: Registry, prefix: str, shared: str | None, tags: BaseTags, platform: Platform
    ) -> None:
        self._registry = registry
        self._folder = f"{prefix}/{_FOLDER}".strip("/")
        self._shared = shared
        self._tags = tags
        self._platform = platform
        self._noted = NotedNames(registry, self._folder)

    def bases(self) -> tuple[GoldenBase, ...]:
        """List them, by name."""
        return tuple(base for name in self._names() for base in self._of_name(name))

    def put(self, name: str, image: Image, progress: Progress) -> GoldenBase:
        """Push a base by its digest, then set its tags one after the other."""
        repository = self._repository(name)
        with progress.step(f"pushing to `{repository.reference}`") as step:
            step.total(sum(layer.descriptor.size for layer in image.layers))
            repository.push(image, step.advance)
        tags = self._tags.tags(name, image.digest)
        for tag in tags:
            repository.put_manifest(tag, image.manifest, image.media_type)
        if self._shared is None:
            self._noted.note(name, present=True)
        return _golden(base_of(name, _pinned(repository, image), image, tags))

    def _names(self) -> tuple[str, ...]:
        if self._shared is not None:
            return self._tags.names(self._repository("").tags())
        repositories = self._registry.catalog()
        if repositories is None:
            return self._noted.names()
        start = f"{self._folder}/"
        inner = (each.removeprefix(start) for each in repositories if each.startswith(start))
        return tuple(sorted(name for name in inner if "/" not in name and name != INDEX_NAME))

    def _of_name(self, name: str) -> list[GoldenBase]:
        repository = self._repository(name)
        named = (tag for tag in repository.tags() if not is_tag_of_digest(tag))
        there = [tag for tag in named if not is_tombstone(repository.resolve(tag)[1])]
        tags = self._tags.of_name(name, there)
        images = (repository.image(tag, self._platform) for tag in self._tags.listed(name, there))
        found = (base_of(name, _pinned(repository, image), image, tags) for image in images)
        return [each for each in found if each is not None]

    def _repository(self, name: str) -> Repository:
        return Repository(self._registry, f"{self._folder}/{name}" if self._shared is None else self._shared)


class EngineBases:
    """Golden bases in a Docker engine.

    Args:
        engine: The engine.
        prefix: Put before a base's name, with a slash; may be empty.
        tags: How tags are made: without names.
    """

    def __init__(self, engine: Engine, prefix: str, tags: BaseTags) -> None:
        self._engine = engine
        self._folder = f"{prefix}/{_FOLDER}/".lstrip("/")
        self._tags = tags

    def bases(self) -> tuple[GoldenBase, ...]:
        """List them, by name."""
        found: dict[tuple[str, str], GoldenBase] = {}
        for image in self._engine.images(label=BASE_LABEL):
            record = record_of_base(image.labels)
            for name, tags in self._names_of(image.names).items():
                if record is not None:
                    found[name, image.identifier] = GoldenBase(
                        name=name,
                        reference=f"docker-daemon:{self._folder}{name}:{tags[0]}",
                        digest=image.identifier,
                        tags=tuple(tags),
                        record=record,
                        size=image.size,
                    )
        return tuple(found[key] for key in sorted(found))

    def put(self, name: str, image: Image, progress: Progress) -> GoldenBase:
        """Load a base under a tag that never moves, then give it the others."""
        repository = f"{self._folder}{name}"
        unique, *others = self._tags.tags(name, image.digest)
        with progress.step("loading into the Docker engine"):
            self._engine.load(image, (f"{repository}:{unique}",))
        for tag in others:
            self._engine.tag(f"{repository}:{unique}", f"{repository}:{tag}")
        return _golden(base_of(name, f"docker-daemon:{repository}:{unique}", image, (unique, *others)))

    def _names_of(self, names: tuple[str, ...]) -> dict[str, list[str]]:
        tagged: dict[str, list[str]] = {}
        for full in sorted(names):
            repository, _, tag = full.rpartition(":")
            if repository.startswith(self._folder):
                tagged.setdefault(repository.removeprefix(self._folder), []).append(tag)
        moving = self._tags.current
        return {name: sorted(tags, key=lambda tag: (tag == moving(name), tag)) for name, tags in tagged.items()}


class ArchiveBases:
    """A golden base in a file.

    Args:
        path: Of the file.
        tags: How tags are made: without names.
        scratch: Folder for what is read back.
    """

    def __init__(self, path: Path, tags: BaseTags, scratch: Path) -> None:
        self._path = path
        self._tags = tags
        self._scratch = scratch

    def bases(self) -> tuple[GoldenBase, ...]:
        """List the one that is there, if there is one."""
        if not self._path.is_file():
            return ()
        names = [each.rpartition(":") for each in archive_names(self._path)]
        image = read_archive(self._path, self._scratch)
        start = f"{_FOLDER}/"
        found = {repository.rpartition(start)[2] for repository, _, _ in names if start in repository}
        tags = tuple(sorted(tag for _, _, tag in names))
        described = (base_of(name, self._reference, image, tags) for name in sorted(found))
        return tuple(each for each in described if each is not None)

    def put(self, name: str, image: Image, progress: Progress) -> GoldenBase:
        """Write the file aside, with its names, and rename it."""
        if self._path.exists() and name not in {each.name for each in self.bases()}:
            raise InputError(
                "already-deployed",
                f"`{self._reference}` exists, and is not the golden base `{name}`",
                hint="name another file",
            )
        tags = self._tags.tags(name, image.digest)
        with disk_errors(), progress.step(f"writing `{self._reference}`"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, aside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    write_archive(image, [f"{_FOLDER}/{name}:{tag}" for tag in tags], stream)
                Path(aside).chmod(0o644)
                Path(aside).replace(self._path)
            finally:
                Path(aside).unlink(missing_ok=True)
        return _golden(base_of(name, self._reference, image, tags))

    @property
    def _reference(self) -> str:
        return f"docker-archive:{self._path.resolve()}"


def _pinned(repository: Repository, image: Image) -> str:
    return f"//{repository.reference}@{image.digest}"


def _golden(base: GoldenBase | None) -> GoldenBase:
    assert base is not None, "only golden bases are put on a shelf"
    return base
