"""Our own scenarios: a first image, a new version, a new machine, a neighbour, another base, a local engine.

Each run begins from a state that is laid anew: a build cache of its own, and a registry that holds what it held
before. Downloads of packages are warm unless a scenario says otherwise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scripts.bench.counting import counted
from scripts.bench.meter import Finished
from scripts.bench.results import Cost, Results, Scenario, WrongResult, same_digest, steps_of
from scripts.bench.workshop import MODEL, RegistryState, Workshop

WAY = "mlflow-dbimage"
#: Of the sample's distributions, the one that a neighbour has another version of: it has a layer of its own.
MOVED = "scipy"


class Ours:
    """Runs our scenarios; one that needs what another leaves makes it.

    Args:
        workshop: Where.
        results: What is found goes there.
        runs: How often each is run.
    """

    def __init__(self, workshop: Workshop, results: Results, runs: int) -> None:
        self._shop = workshop
        self._results = results
        self._runs = runs
        self._empty = workshop.store.state()
        self._seen: RegistryState | None = None
        self._cache: Path | None = None

    def fetched(self) -> None:
        """Measure a first image of a machine that has downloaded nothing, once."""
        cache = self._shop.empty_cache("fetched", downloads=False)
        self._add("fetched", "first image, nothing downloaded before", [self._build(cache, self._empty)])

    def first(self) -> None:
        """Measure first images: caches have what was downloaded and know the base, the registry has the base."""
        costs = [self._first(f"first-{number}") for number in range(self._runs)]
        self._add("first", "first image", costs)
        one = [self._first("one-core", cores=frozenset({min(os.sched_getaffinity(0))}))]
        self._add("first-one-core", "first image, on one core", one)
        self._keep("first-0")
        again = [self._build(self._warm(), self._seen_state()) for _ in range(self._runs)]
        self._add("again", "the same version again", again)
        digests = {"cold": costs, "one core": one, "warm": again}
        same_digest(
            "builds of one version",
            {f"{how} {number}": each.digest for how, made in digests.items() for number, each in enumerate(made)},
        )

    def version(self) -> None:
        """Measure a new version of the model whose environment is the same."""
        self._needs_first()
        costs = [self._build(self._warm(), self._seen_state(), self._shop.register()) for _ in range(self._runs)]
        sizes = ", ".join(f"{size / 1000:.1f}" for size in sorted(self._new_blobs, reverse=True))
        self._add("version", "new version, same environment", costs, f"new blobs of the last run, in kB: {sizes}")
        self._results.figures["model-bytes"] = self._model_bytes()

    def machine(self) -> None:
        """Measure a new version on a new machine: its caches are empty, the registry has seen the environment."""
        self._needs_first()
        costs = []
        for _ in range(self._runs):
            cache = self._shop.empty_cache("new-machine", downloads=False)
            costs.append(self._build(cache, self._seen_state(), self._shop.register()))
        self._add("machine", "new version, on a new machine", costs)

    def neighbour(self) -> None:
        """Measure a model whose environment has one distribution in another version."""
        self._needs_first()
        pin = f"{MOVED}=={version(MOVED)}"
        uri = self._shop.register(lines=((pin, f"{MOVED}<{version(MOVED)}"),))
        self._build(self._warm(), self._seen_state(), uri)  # downloads what differs
        costs = [self._build(self._warm(), self._seen_state(), uri) for _ in range(self._runs)]
        self._add("neighbour", f"a neighbour: another {MOVED}", costs)
        same_digest("builds of the neighbour", {f"run {number}": each.digest for number, each in enumerate(costs)})
        self._results.figures["moved-layer"] = float(self._layer_of(MOVED))

    def sibling(self) -> None:
        """Measure another model on an environment that the registry has, of the first one."""
        self._needs_first()
        command = ("build", self._shop.version(1), "--name", f"{MODEL}-sibling", "--mode", "replace")
        costs = [self._measured(command, self._warm(), self._seen_state()) for _ in range(self._runs)]
        self._add("sibling", "another model, same environment", costs)

    def rebase(self) -> None:
        """Measure laying the image on a patched base that this machine has seen."""
        self._needs_first()
        warm = self._warm()
        command = ("rebase", MODEL, "--base", self._shop.patched_base)
        self._measured(command, warm, self._seen_state())
        costs = [
            self._measured(command, self._shop.copied_cache(warm, "rebase"), self._seen_state())
            for _ in range(self._runs)
        ]
        self._add("rebase", "the image on a patched base", costs)

    def proven(self) -> None:
        """Measure, once each, a first image and a new version that are run before they get their name."""
        self._needs_first()
        cache = self._shop.empty_cache("proven", like=self._known)
        told = [self._build(cache, self._empty, DBIMAGE_VERIFY="auto")]
        self._add("proven", "first image, run before it is named", told)
        told = [self._build(self._warm(), self._seen_state(), self._shop.register(), DBIMAGE_VERIFY="auto")]
        self._add("proven-version", "new version, run before it is named", told)

    def engine(self) -> None:
        """Measure a new version into a local engine that has the version before."""
        if self._shop.engine is None:
            self._results.skipped["engine"] = self._shop.no_engine or "no engine"
            return
        self._needs_first()
        cache = self._warm()
        socket = self._shop.folder / "counting.sock"
        costs = []
        with counted(str(socket), self._shop.engine.removeprefix("unix://")) as count:
            for number in range(self._runs + 1):
                uri = self._shop.version(1) if number == 0 else self._shop.register()
                before = count.sent
                done, receipt = self._command(
                    ("build", uri, "--name", MODEL, "--mode", "replace", "-t", "docker-daemon:"),
                    cache,
                    DOCKER_HOST=f"unix://{socket}",
                )
                cost = Cost(usage=done.usage, pushed=count.sent - before, added=receipt["added_size"])
                costs.append(cost)
        self._add("engine-first", "first image, into a local engine", costs[:1])
        self._add("engine", "new version, into a local engine", costs[1:])
        self._results.figures["engine-model-layer"] = float(self._model_layer(receipt))

    def overlay(self) -> None:
        """Measure an image over a golden base that has the pins, once; making the base is no part of it."""
        self._needs_first()
        cache = self._warm()
        _, plan = self._shop.dbimage("plan", self._shop.version(1), cache=cache)
        managers = {manager: _pins(plan, manager) for manager in ("conda", "pip")}
        listed = self._shop.folder / "golden.yml"
        pip = "".join(f"  - {pin}\n" for pin in managers["pip"])
        conda = "".join(f"- {pin}\n" for pin in managers["conda"])
        listed.write_text(f"name: golden\nchannels: [conda-forge]\ndependencies:\n{conda}- pip:\n{pip}")
        self._aside("back")
        base = ("base", "build", "--from-env", str(listed), "--system", self._shop.base, "-t")
        _, made = self._shop.dbimage(*base, f"//{self._shop.store.host}/golden", cache=cache)
        options = ("-C", f"base_image=//{made['reference'].removeprefix('//')}", "-C", "env_layout=overlay")
        command = ("build", self._shop.version(1), "--name", MODEL, "--mode", "replace", *options)
        before = self._shop.store.count.sent
        done, receipt = self._shop.dbimage(*command, cache=cache)
        cost = Cost(usage=done.usage, pushed=self._shop.store.count.sent - before, added=receipt["added_size"])
        self._add("overlay", "first image, over a golden base with the pins", [cost])
        self._results.figures["overlay-bytes"] = float(receipt["added_size"])

    def environment_cache(self) -> Path:
        """Return a cache that has the lock of the first version."""
        self._needs_first()
        return self._warm()

    def _first(self, name: str, cores: frozenset[int] | None = None) -> Cost:
        cache = self._shop.empty_cache(name, like=self._known)
        cost = self._build(cache, self._empty, cores=cores)
        if name != "first-0":
            shutil.rmtree(cache)
        else:
            self._seen = self._shop.store.state()
            self._aside("keep")
        return cost

    def _aside(self, what: str) -> None:
        """Keep the registry's folder of the first image, or bring it back."""
        data, kept = self._shop.store.folder / "data", self._shop.store.folder / "kept"
        source, target = (data, kept) if what == "keep" else (kept, data)
        for part in ("blobs", "repositories"):
            place = target / "docker" / "registry" / "v2" / part
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(
                source / "docker" / "registry" / "v2" / part,
                place,
                copy_function=os.link if part == "blobs" else shutil.copy2,
            )

    def _keep(self, name: str) -> None:
        """Keep what the first image left, and hold that the image works."""
        self._cache = self._shop.folder / "caches" / name
        self._aside("back")
        engine = {} if self._shop.engine is None else {"DOCKER_HOST": self._shop.engine}
        done, report = self._shop.dbimage(
            "verify", MODEL, cache=self._cache, more={"DBIMAGE_VERIFY": "auto", **engine}
        )
        if not report["verification"]["proven"]:
            raise WrongResult(f"the first image does not predict: {done.output[-2000:]}")

    def _needs_first(self) -> None:
        if self._cache is None:
            self._first("first-0")
            self._keep("first-0")

    def _warm(self) -> Path:
        assert self._cache is not None
        return self._shop.copied_cache(self._cache, "warm")

    def _seen_state(self) -> RegistryState:
        assert self._seen is not None
        return self._seen

    @cached_property
    def _known(self) -> Path:
        """A cache that knows the base, of a build that has also downloaded what is needed: the first of all."""
        cache = self._shop.empty_cache("known")
        self._build(cache, self._empty)
        self._shop.store.forget_since(self._empty)
        return cache

    def _build(
        self, cache: Path, state: RegistryState, uri: str = "", cores: frozenset[int] | None = None, **more: str
    ) -> Cost:
        command = ("build", uri or self._shop.version(1), "--name", MODEL, "--mode", "replace")
        return self._measured(command, cache, state, cores=cores, **more)

    def _measured(
        self,
        command: tuple[str, ...],
        cache: Path,
        state: RegistryState,
        cores: frozenset[int] | None = None,
        **more: str,
    ) -> Cost:
        if state is self._empty:
            self._shop.store.forget_since(self._empty)
        else:
            self._aside("back")
        held, before = self._shop.store.blobs(), self._shop.store.count.sent
        done, receipt = self._shop.dbimage(*command, cache=cache, cores=cores, more=more)
        pushed = self._shop.store.count.sent - before
        self._new_blobs = [size for digest, size in self._shop.store.blobs().items() if digest not in held]
        self._last = receipt
        return Cost(
            usage=done.usage,
            pushed=pushed,
            added=receipt.get("added_size"),
            digest=receipt["digest"],
            steps=steps_of(done.said),
        )

    def _command(self, words: tuple[str, ...], cache: Path, **more: str) -> tuple[Finished, dict[str, Any]]:
        return self._shop.dbimage(*words, cache=cache, more=more)

    def _add(self, key: str, title: str, costs: Iterable[Cost], note: str = "") -> None:
        self._results.add(Scenario(key=key, way=WAY, title=title, costs=tuple(costs), note=note))

    def _layer_of(self, name: str) -> int:
        layers = self._last["record"]["layers"]
        holds: Callable[[dict[str, Any]], bool] = lambda each: any(  # noqa: E731
            title.startswith(f"{name} ") for title in each["contents"]
        )
        return sum(each["size"] for each in layers if holds(each))

    @staticmethod
    def _model_layer(receipt: dict[str, Any]) -> int:
        return sum(each["size"] for each in receipt["record"]["layers"] if each["kind"] == "model")

    def _model_bytes(self) -> float:
        folder = self._shop.folder / "models" / "1"
        return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def _pins(plan: dict[str, Any], manager: str) -> list[str]:
    sign = "=" if manager == "conda" else "=="
    return [f"{each['name']}{sign}{each['version']}" for each in plan["packages"] if each["manager"] == manager]
