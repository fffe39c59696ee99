"""`make bench`: measures, holds the targets against what was found, and fails on a wrong result, never on a time.

make bench                                        all of it
make bench ARGS=--quick                           three minutes
make bench ARGS="--only first,version --runs 3"   some parts
make bench ARGS="--write-docs"                    and put it into docs/benchmarks.md
make bench ARGS="--last --write-docs"             without measuring: the last results
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from scripts.bench import floor, growth, limits, service
from scripts.bench.machine import describe
from scripts.bench.meter import CommandFailed
from scripts.bench.peers import Peers
from scripts.bench.report import markdown, write_docs
from scripts.bench.results import Results, WrongResult
from scripts.bench.scenarios import Ours
from scripts.bench.targets import evaluate
from scripts.bench.workshop import KEPT, ROOT, Workshop, opened

RESULTS = KEPT / "results.json"
_QUICK = ("floor", "first", "version", "machine", "sibling", "neighbour", "rebase", "layers")
_BUSY = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PART,...", help=f"of {', '.join(_parts())}")
    parser.add_argument("--runs", type=int, help="how often each of our scenarios is run; default: 3, quick: 1")
    parser.add_argument("--quick", action="store_true", help="without peers, growth and what takes long")
    parser.add_argument("--write-docs", action="store_true", help="put the report into docs/benchmarks.md")
    parser.add_argument("--last", action="store_true", help="report the last results, and measure nothing")
    given = parser.parse_args(arguments)
    chosen = given.only.split(",") if given.only else list(_QUICK if given.quick else _parts())
    unknown = set(chosen) - set(_parts())
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_parts())}")
    # Services of the benchmark end with it, however it is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if not given.last:
        problem = _measure(chosen, given.runs or (1 if given.quick else 3), quick=given.quick)
        if problem is not None:
            print(f"wrong result: {problem}", file=sys.stderr)
            return 1
    kept = json.loads(RESULTS.read_text())
    results = Results.from_dict(kept["results"])
    print(markdown(results, kept["machine"]))
    if given.write_docs:
        write_docs(results, kept["machine"], ROOT / "docs")
    return 0


def _parts() -> tuple[str, ...]:
    return (
        *("floor", "fetched", "first", "version", "machine", "sibling", "neighbour", "rebase", "proven", "engine"),
        *("overlay", "layers", "conda-pack", "mlflow", "hand", "service", "environments", "models", "registry"),
    )


def _measure(chosen: Sequence[str], runs: int, *, quick: bool) -> Exception | None:
    """Measure parts, keeping what was found after each; return what was wrong, if anything."""
    machine, results = describe(), Results()
    if os.getloadavg()[0] > _BUSY:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): times say little", file=sys.stderr)
    KEPT.mkdir(parents=True, exist_ok=True)
    with opened() as workshop:
        for name, part in _works(workshop, results, runs, quick=quick).items():
            if name not in chosen:
                continue
            started = time.monotonic()
            try:
                part()
            except (WrongResult, CommandFailed) as problem:
                return problem
            _keep(results, machine)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return None


def _works(workshop: Workshop, results: Results, runs: int, *, quick: bool) -> Mapping[str, Callable[[], None]]:
    ours, peers = Ours(workshop, results, runs), Peers(workshop, results, min(runs, 2))
    environments = (0.1, 0.5) if quick else (0.1, 0.5, 1, 2, 4)
    models = (0.5, 1) if quick else (1, 10)

    def of_service() -> None:
        results.service = service.measure(50, 10 if quick else 60, 10, 1)

    return {
        "floor": lambda: floor.measure(workshop, results, runs),
        "fetched": ours.fetched,
        "first": ours.first,
        "version": ours.version,
        "machine": ours.machine,
        "sibling": ours.sibling,
        "neighbour": ours.neighbour,
        "rebase": ours.rebase,
        "proven": ours.proven,
        "engine": ours.engine,
        "overlay": ours.overlay,
        "layers": lambda: limits.layers(workshop, results, ours.environment_cache(), min(runs, 3)),
        "conda-pack": lambda: limits.archive(workshop, results, ours.environment_cache()),
        "mlflow": peers.mlflow,
        "hand": peers.by_hand,
        "service": of_service,
        "environments": lambda: growth.environments(workshop, results, environments),
        "models": lambda: growth.models(workshop, results, models),
        "registry": lambda: growth.registry(workshop, results, 2 if quick else 20),
    }


def _keep(results: Results, machine: Mapping[str, str]) -> None:
    targets = [asdict(each) for each in evaluate(results)]
    kept = {"machine": machine, "targets": targets, "results": results.to_dict()}
    aside = RESULTS.with_suffix(".new")
    aside.write_text(json.dumps(kept, indent=1, default=str) + "\n")
    aside.replace(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
