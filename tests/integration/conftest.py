"""What tests of the service's workers share: a light model, what it is built from, and services in folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.service.intake import Service
from service_bench import ServiceBench


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as index:
        yield index


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Hold what all builds have in common: model, base, and the cache of environments."""
    folder = tmp_path_factory.mktemp("place")
    tiny_base(folder / "base" / "base.tar")
    light_model(folder / "model")
    light_model(folder / "unsolvable", "there-is-no-such-package==1.0")
    return folder


@pytest.fixture
def new_bench(conda_channel, index, place, tmp_path, tracking_server) -> Callable[..., ServiceBench]:
    settings = light_settings(conda_channel.url, place / "base" / "base.tar", index.url)

    def make(**others) -> ServiceBench:
        bench = Bench(folder=tmp_path / "here", model=place / "model", cache=place / "cache", settings=settings)
        return ServiceBench(**{"bench": bench, "tracking_uri": tracking_server.uri, **others})

    return make


@pytest.fixture
def opened() -> Iterator[Callable[[ServiceBench], Service]]:
    """Return a function that opens the service of a bench, until the test ends."""
    with ExitStack() as stack:
        yield lambda bench: stack.enter_context(bench.open())
