"""The files in docs/deploy: that they are whole, and say nothing that the program does not know."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_dbimage.settings_sources import Surroundings, load
from plugin_entrypoints.cli import dbimage

FILES = Path(__file__).parent.parent / "docs" / "deploy"
EXAMPLES = {"POSTGRES_PASSWORD": "p", "WEBHOOK_SECRET": "w", "SERVICE_TOKEN": "t" * 40}


def compose() -> dict[str, Any]:
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda m: EXAMPLES.get(m[1], "x"), (FILES / "compose.yaml").read_text())
    return yaml.safe_load(text)


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FILES / "kubernetes.yaml").read_text()))


def commands() -> Iterator[Sequence[str]]:
    yield from (each["command"] for each in compose()["services"].values() if "build" in each)
    for each in manifests():
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]["containers"][0]["args"]
    unit = configparser.ConfigParser(strict=False)
    unit.read(FILES / "dbimage.service")
    yield shlex.split(unit["Service"]["ExecStart"])[1:]


@pytest.mark.parametrize("command", [*commands()], ids=" ".join)
def test_every_command_is_one_of_ours(command: Sequence[str]) -> None:
    name, *rest = command
    found = dbimage.commands[name]
    if name == "webhook":
        found, rest = found.commands[rest[0]], rest[1:]
    context = found.make_context(name, list(rest))  # raises what it does not know
    given = {each.removeprefix("--") for each in rest if each.startswith("--")}
    assert {key.replace("_", "-") for key in context.params} >= given
    assert context.args == []


@pytest.mark.parametrize("service", ["door", "worker"])
def test_the_settings_of_compose_are_settings(service: str, tmp_path: Path) -> None:
    described = compose()["services"][service]
    places = Surroundings(
        environment=described["environment"], directory=tmp_path, user_file=tmp_path / "none.toml"
    )
    settings = load(surroundings=places)
    assert settings.warnings == ()
    assert settings.service_database == "postgresql://dbimage:p@postgres/dbimage"
    assert settings.insecure
    assert set(described["depends_on"]) <= set(compose()["services"])


def test_what_manifests_refer_to_is_there(tmp_path: Path) -> None:
    found = manifests()
    maps = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}
    (tmp_path / "dbimage.toml").write_text(maps["dbimage-rules"]["dbimage.toml"])
    places = Surroundings(environment=maps["dbimage"], directory=tmp_path, user_file=tmp_path / "none.toml")
    settings = load(surroundings=places)
    assert (settings.warnings, len(settings.rules)) == ((), 1)
    made = set(re.findall(r"create secret generic (\S+)", (FILES / "kubernetes.yaml").read_text()))
    for each in found:
        if each["kind"] != "Deployment":
            continue
        spec = each["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        sources = [*container["envFrom"], *spec["volumes"]]
        assert {s["configMapRef"]["name"] for s in sources if "configMapRef" in s} <= set(maps)
        assert {s["configMap"]["name"] for s in sources if "configMap" in s} <= set(maps)
        assert {s["secretRef"]["name"] for s in sources if "secretRef" in s} <= made
        assert {s["secret"]["secretName"] for s in sources if "secret" in s} <= made
