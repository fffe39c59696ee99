"""What the demo shows, screen by screen."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

import sample_models
from scripts.demo.workshop import FOLDER, Machine, Workshop

_WIDTH = 110
_ROWS = 5


def tell() -> None:
    """Tell the whole story.

    Raises:
        CommandFailed: A command of it ended as it should not.
    """
    console = Console(width=None if Console().is_terminal else _WIDTH)
    workshop = Workshop(console)
    workshop.clear()
    machine = _introduce(console, workshop)
    warm = workshop.has_built_before()
    first = _train(console, workshop)
    _plan(console, workshop, first)
    seconds = _package(console, workshop, first)
    _score(console, workshop)
    _renew(console, workshop, None if warm else seconds)
    _refuse(console, workshop)
    _what_next(console, workshop, machine)


def _introduce(console: Console, workshop: Workshop) -> Machine:
    console.rule("[bold]mlflow-dbimage: from a registered model to a container that scores")
    with console.status("looking at what this machine can do"):
        machine = workshop.look_around()
    text = workshop.configure(machine)
    console.print(
        "A Docker engine answers: images will run in it."
        if machine.engine
        else "No Docker engine answers: none is needed; images are scored from their packed environment."
    )
    console.print(
        "Conda packages come from conda-forge."
        if machine.channel
        else "No conda channel can be reached: one was made of the Python and the wheels of this machine."
    )
    console.print(
        "The base is Databricks's own image of a runtime."
        if machine.databricks_base
        else "Databricks's images cannot be reached: a Debian stands in for them, made by mmdebstrap."
    )
    console.print("A site says such things once, in [bold]dbimage.toml[/]:")
    console.print(Panel(Syntax(text.strip(), "toml", background_color="default"), expand=False))
    return machine


def _train(console: Console, workshop: Workshop) -> str:
    console.rule("[bold]1. A model is trained and registered")
    with console.status("training"):
        uri = workshop.register("sklearn-churn", "churn")
    console.print(
        f"A scikit-learn pipeline that says which customers leave is now [bold]{uri}[/] (SQLite).\n"
        "MLflow has noted what it needs: a Python, and packages, pinned or not."
    )
    return uri


def _plan(console: Console, workshop: Workshop, uri: str) -> None:
    console.rule("[bold]2. The plan: which base, which packages")
    workshop.show("dbimage", "plan", uri)


def _package(console: Console, workshop: Workshop, uri: str) -> float:
    console.rule("[bold]3. The image")
    return workshop.show("mlflow", "deployments", "create", "-t", "dbimage", "--name", "churn", "-m", uri)


def _score(console: Console, workshop: Workshop) -> None:
    console.rule("[bold]4. It scores")
    rows = _first_rows(sample_models.folder("sklearn-churn") / "input.csv")
    (FOLDER / "rows.json").write_text(json.dumps(rows))
    workshop.show(
        "mlflow",
        "deployments",
        "predict",
        "-t",
        "dbimage",
        "--name",
        "churn",
        "-I",
        "rows.json",
        "-O",
        "scored.json",
    )
    told = json.loads((FOLDER / "scored.json").read_text())
    console.print(_scored_table(rows, told["predictions"] if isinstance(told, dict) else told))


def _renew(console: Console, workshop: Workshop, first_seconds: float | None) -> None:
    console.rule("[bold]5. The next version, in seconds")
    before = workshop.record("churn")
    with console.status("training"):
        uri = workshop.register("sklearn-churn", "churn")
    seconds = workshop.show("mlflow", "deployments", "update", "-t", "dbimage", "--name", "churn", "-m", uri)
    console.print(_what_was_kept(before["record"], workshop.record("churn")["record"]))
    told = (
        f"the first version took {first_seconds:.0f} s"
        if first_seconds
        else "an earlier run of this demo built it"
    )
    console.print(f"It took {seconds:.0f} s, start of Python and MLflow included; {told}.")


def _refuse(console: Console, workshop: Workshop) -> None:
    console.rule("[bold]6. A broken model is refused, and the name stays where it was")
    uri = workshop.register("bad-unsolvable", "churn")
    workshop.show("mlflow", "deployments", "update", "-t", "dbimage", "--name", "churn", "-m", uri, expected=4)
    workshop.show("dbimage", "list")


def _what_next(console: Console, workshop: Workshop, machine: Machine) -> None:
    console.rule("[bold]What you could type next")
    run = (
        "docker run --rm -v $PWD:/data churn:deployed --input /data/rows.json --output /data/scored.csv"
        if machine.engine
        else "mlflow deployments run-local -t dbimage --name churn -m models:/churn/2 -C input=rows.json"
    )
    console.print(f"after [bold cyan]{workshop.write_activation()}[/]", highlight=False, soft_wrap=True)
    for command, purpose in (
        ("dbimage inspect churn", "what the image is made of, read from the image"),
        (run, "score a file yourself"),
        (
            "dbimage build models:/churn/2 --name churn -t //registry.example/models",
            "send it to your registry",
        ),
    ):
        console.print(f"  [bold cyan]{command}[/]", highlight=False, soft_wrap=True)
        console.print(f"      {purpose}", style="dim")


def _first_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as lines:
        rows = [dict(row) for _, row in zip(range(_ROWS), csv.DictReader(lines), strict=False)]
    return [{name: _number(value) for name, value in row.items()} for row in rows]


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _scored_table(rows: Sequence[Mapping[str, Any]], predictions: Sequence[Any]) -> Table:
    table = Table(title="the first rows", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    table.add_column("prediction", style="bold green")
    for row, prediction in zip(rows, predictions, strict=True):
        told = prediction.values() if isinstance(prediction, dict) else [prediction]
        table.add_row(*(str(value) for value in row.values()), ", ".join(str(each) for each in told))
    return table


def _what_was_kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    old = {layer["digest"] for layer in before["layers"]}
    new = [layer for layer in after["layers"] if layer["digest"] not in old]
    size = sum(layer["size"] for layer in new)
    same_lock = before["lock_digest"] == after["lock_digest"]
    done = "Nothing was installed, packed or compressed again" if same_lock else "The packages differ"
    kinds = ", ".join(layer["kind"] for layer in new) or "nothing"
    kept = len(after["layers"]) - len(new)
    return (
        f"{done}: of {len(after['layers'])} layers on the base, {kept} are the same bytes as before;"
        f" new are {size / 1000:,.0f} kB: {kinds}."
    )
