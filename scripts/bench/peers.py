"""The peers, on the same model, base and machine: MLflow's own image, the recipe by hand, conda-pack.

*MLflow*: `mlflow models generate-dockerfile`, `docker build`, `docker push`: what `mlflow models build-docker`
does, and pushing. Its Dockerfile stands on `python:X.Y.Z-slim`; where no image can be pulled, the Debian base with
the channel's Python in `/usr/local` has that name in the engine, and the Dockerfile is built as it is.

*By hand*: an environment of the same lines, solved and installed by py-rattler and uv, packed by conda-pack, added
to the base by a Dockerfile whose last line copies the model, built and pushed.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import sample_models
from scripts.bench.meter import CommandFailed, Usage, run, together
from scripts.bench.results import Cost, Results, Scenario, WrongResult
from scripts.bench.workshop import KEPT, MODEL, SAMPLE, Workshop

_PYTHON = platform.python_version()
_DOWNLOADED = KEPT / "downloads" / "by-hand"
_STAND_IN = f"python:{_PYTHON}-slim"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_STAND_IN_FILE = """\
FROM {base}
COPY python /usr/local
COPY certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
"""
_BY_HAND_FILE = """\
FROM {base}
ADD env.tar /opt/env
RUN /opt/env/bin/python /opt/env/bin/conda-unpack
COPY model /opt/model
"""
_MAKE_PREFIX = """\
import asyncio, os, sys
from rattler import BuildString, GenericVirtualPackage, PackageName, Version, install, solve

channel, prefix, python, place = sys.argv[1:]
virtual = [
    GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
    for name, version in (("__glibc", "2.36"), ("__linux", "5.10"), ("__unix", "0"))
]

async def main():
    specs = [f"python={python}", "pip"]
    records = await solve([channel], specs, platforms=["linux-64", "noarch"], virtual_packages=virtual)
    await install(records, target_prefix=prefix, alternative_target_prefix=place)

asyncio.run(main())
os._exit(0)  # its threads may crash a Python that ends in order
"""
_PREDICT = """\
import sys, pandas, mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
kinds = {"double": "float64", "long": "int64", "string": "str"}
columns = {each.name: kinds[each.type.name] for each in model.metadata.get_input_schema().inputs}
rows = pandas.read_csv("/data/input.csv", usecols=list(columns), dtype=columns)
answer = model.predict(rows)
if not isinstance(answer, pandas.DataFrame):
    answer = pandas.DataFrame({"prediction": answer})
print(answer.to_csv(index=False))
"""


class Peers:
    """Runs what others do.

    Args:
        workshop: Where.
        results: What is found goes there.
        runs: How often a new version is built; a first image, which takes minutes, is built once.
    """

    def __init__(self, workshop: Workshop, results: Results, runs: int) -> None:
        self._shop = workshop
        self._results = results
        self._runs = runs
        self._base = f"{workshop.store.host}/bases/debian:bookworm"

    def mlflow(self) -> None:
        """Measure MLflow's own image: the first, and new versions."""
        if not self._ready("mlflow-image"):
            return
        try:
            self._make_stand_in()
            first, *others = [self._mlflow_image(number) for number in range(1 + self._runs)]
        except CommandFailed as problem:
            self._results.skipped["mlflow-image"] = _last_line(problem)
            return
        note = f"`{_STAND_IN}` is a local stand-in: no image can be pulled" if self._stands_in() else ""
        self._add("mlflow-image", "MLflow", "`generate-dockerfile`, `docker build`, push", [first], note)
        self._add("mlflow-version", "MLflow", "the same with a new version", others, note)
        self._holds(f"{self._shop.store.host}/mlflow/{MODEL}:1", "python", "/opt/ml/model")

    def by_hand(self) -> None:
        """Measure the recipe by hand: the first image, and new versions."""
        if not self._ready("hand"):
            return
        self._docker("pull", "--quiet", self._base)
        try:
            steps = self._hand_environment()
            first, *others = [self._hand_image(number) for number in range(1 + self._runs)]
        except CommandFailed as problem:
            self._results.skipped["hand"] = _last_line(problem)
            return
        whole = Cost(usage=together(*steps.values(), first.usage), pushed=first.pushed, added=first.added)
        note = ", ".join(f"{name} {usage.seconds:.1f} s" for name, usage in steps.items())
        note += f", build and push {first.usage.seconds:.1f} s"
        self._add("hand", "by hand", "solve, install, conda-pack, `docker build`, push", [whole], note)
        self._add("hand-version", "by hand", "the same with a new version", others)
        self._holds(f"{self._shop.store.host}/hand/{MODEL}:1", "/opt/env/bin/python", "/opt/model")

    def _ready(self, key: str) -> bool:
        if self._shop.engine is None:
            self._results.skipped[key] = self._shop.no_engine or "no engine"
        return self._shop.engine is not None

    def _mlflow_image(self, number: int) -> Cost:
        name = f"{self._shop.store.host}/mlflow/{MODEL}:{number + 1}"
        uri = self._shop.version(1) if number == 0 else self._shop.register()
        context = self._shop.folder / "mlflow-context"
        shutil.rmtree(context, ignore_errors=True)
        before = self._shop.store.count.sent
        generate = (sys.executable, "-m", "mlflow", "models", "generate-dockerfile", "-m", uri, "-d")
        usage = together(
            self._run(*generate, str(context)),
            self._docker("build", "--network", "host", "--quiet", "-t", name, str(context)),
            self._docker("push", "--quiet", name),
        )
        base = f"{self._shop.store.host}/bases/python:slim"
        return self._cost(usage, before, f"mlflow/{MODEL}:{number + 1}", base)

    def _hand_environment(self) -> dict[str, Usage]:
        """Make the environment and pack it; return what each step took."""
        folder = self._shop.folder / "by-hand"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prefix, archive = folder / "env", folder / "env.tar"
        model = self._shop.folder / "models" / "1"
        if not _DOWNLOADED.exists():
            target = ("-m", "uv", "pip", "install", "--quiet", "--target", str(folder / "warm-up"))
            self._run(sys.executable, *target, "-r", str(model / "requirements.txt"))
        make = (sys.executable, "-c", _MAKE_PREFIX, self._shop.channel)
        install = ("-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(prefix))
        pack = ("-m", "conda_pack.cli", "--quiet", "--format", "tar", "--prefix", str(prefix), "--output")
        return {
            "conda": self._run(*make, str(prefix), _PYTHON, str(prefix)),
            "uv": self._run(sys.executable, *install, "-r", str(model / "requirements.txt")),
            "conda-pack": self._run(sys.executable, *pack, str(archive)),
        }

    def _hand_image(self, number: int) -> Cost:
        folder = self._shop.folder / "by-hand"
        name = f"{self._shop.store.host}/hand/{MODEL}:{number + 1}"
        shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.copytree(self._shop.folder / "models" / "1", folder / "model")
        (folder / "model" / "notes.txt").write_text(f"by hand {number}\n")
        (folder / "Dockerfile").write_text(_BY_HAND_FILE.format(base=self._base))
        (folder / ".dockerignore").write_text("env\n")
        before = self._shop.store.count.sent
        usage = together(
            self._docker("build", "--network", "host", "--quiet", "-t", name, str(folder)),
            self._docker("push", "--quiet", name),
        )
        return self._cost(usage, before, f"hand/{MODEL}:{number + 1}", self._base)

    def _make_stand_in(self) -> None:
        """Have the engine know the image that MLflow's Dockerfile begins with."""
        base = f"{self._shop.store.host}/bases/python:slim"
        try:
            self._docker("pull", "--quiet", _STAND_IN)
        except CommandFailed:
            folder = self._shop.folder / "stand-in"
            folder.mkdir()
            python = folder / "python"
            self._run(sys.executable, "-c", _MAKE_PREFIX, self._shop.channel, str(python), _PYTHON, "/usr/local")
            trusted = _CERTIFICATES.read_bytes() if _CERTIFICATES.exists() else b""
            (folder / "certificates.crt").write_bytes(trusted)
            self._docker("pull", "--quiet", self._base)
            (folder / "Dockerfile").write_text(_STAND_IN_FILE.format(base=self._base))
            self._docker("build", "--network", "host", "--quiet", "-t", _STAND_IN, str(folder))
        # The base is in the registry, as it is for us.
        self._docker("tag", _STAND_IN, base)
        self._docker("push", "--quiet", base)

    def _stands_in(self) -> bool:
        return (self._shop.folder / "stand-in").exists()

    def _cost(self, usage: Usage, before: int, image: str, base: str) -> Cost:
        pushed = self._shop.store.count.sent - before
        own, below = self._layers(image), self._layers(base.removeprefix(f"{self._shop.store.host}/"))
        return Cost(usage=usage, pushed=pushed, added=sum(own.values()) - sum(below.values()))

    def _layers(self, image: str) -> dict[str, int]:
        repository, _, tag = image.rpartition(":")
        request = urllib.request.Request(
            f"http://{self._shop.store.host}/v2/{repository}/manifests/{tag}",
            headers={
                "Accept": "application/vnd.docker.distribution.manifest.v2+json, "
                "application/vnd.oci.image.manifest.v1+json"
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            manifest = json.load(answer)
        return {f"{number} {each['digest']}": each["size"] for number, each in enumerate(manifest["layers"])}

    def _holds(self, image: str, python: str, model: str) -> None:
        """Hold the peer's image to the sample's predictions, in a container."""
        data = sample_models.folder(SAMPLE)
        command = ("docker", "run", "--rm", "--network", "none", "--volume", f"{data}:/data:ro")
        done = run(
            [*command, "--entrypoint", python, image, "-W", "ignore", "-c", _PREDICT, model],
            environment=self._variables(),
        )
        wanted = (data / "expected.csv").read_text().split()
        if done.output.split()[-len(wanted) :] != wanted:
            raise WrongResult(f"`{image}` predicts otherwise than the sample says:\n{done.output[-2000:]}")

    def _docker(self, *words: str) -> Usage:
        return self._run("docker", *words)

    def _run(self, *words: str) -> Usage:
        return run(words, environment=self._variables(), directory=self._shop.folder).usage

    def _variables(self) -> dict[str, str]:
        more = {
            "DOCKER_BUILDKIT": "0",
            "UV_CACHE_DIR": str(_DOWNLOADED / "uv"),
            "RATTLER_CACHE_DIR": str(_DOWNLOADED / "conda"),
        }
        own = self._shop.variables(self._shop.folder / "caches" / "none")
        return {**own, "DOCKER_HOST": self._shop.engine or "", **more}

    def _add(self, key: str, way: str, title: str, costs: Sequence[Cost], note: str = "") -> None:
        self._results.add(Scenario(key=key, way=way, title=title, costs=tuple(costs), note=note))


def _last_line(problem: CommandFailed) -> str:
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return f"{lines[0]} {lines[-1]}"
