"""The documentation names everything that there is: keys, variables, commands, options, error codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlflow_dbimage import errors
from mlflow_dbimage.dcs_contract import RULES, Rule
from mlflow_dbimage.settings import KEYS, Key, Scope
from plugin_entrypoints.cli import dbimage

DOCS = Path(__file__).parent.parent / "docs"


def document(name: str) -> str:
    """Return a document."""
    return (DOCS / name).read_text(encoding="utf-8")


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group, by what people type."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(dbimage, "dbimage"))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_is_documented_as_it_is(key: Key):
    default = f"`{key.default_text}`" if key.default_text and " " not in key.default_text else key.default_text
    text = document("configuration.md")
    assert f"| `{key.name}` | {key.kind.wants} | {default} | {key.doc} |\n" in text
    assert text.count(f"\n| `{key.name}` | {key.kind.wants} |") == 1


@pytest.mark.parametrize("key", [key for key in KEYS if key.scope is not Scope.RUN], ids=lambda key: key.variable)
def test_every_variable_is_documented(key: Key):
    assert f"| `{key.variable}` | `{key.name}` |\n" in document("configuration.md")


def test_the_variables_of_the_documentation_are_those_of_the_code():
    keys = {key.variable for key in KEYS if key.scope is not Scope.RUN}
    read = {
        name
        for package in ("mlflow_dbimage", "plugin_entrypoints")
        for path in (DOCS.parent / package).rglob("*.py")
        for name in re.findall(r"\bDBIMAGE_[A-Z]+(?:_[A-Z]+)*\b", path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"\bDBIMAGE_[A-Z]+(?:_[A-Z]+)*\b", document("configuration.md")))
    assert named == keys | read


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_documented(path: str):
    text = document("cli.md")
    assert f"\n### `{path}`\n" in text
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option):
            assert f"`{option.opts[-1]}" in text or f"{option.opts[-1]} " in text


def test_no_command_is_documented_that_does_not_exist():
    assert set(re.findall(r"^### `(dbimage [^`]+)`", document("cli.md"), flags=re.M)) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_json(path: str):
    assert "--json" in {name for option in COMMANDS[path].params for name in option.opts}


def test_every_error_code_is_documented_with_exit_and_meaning():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d) \| (.+) \| `[A-Z_]+` \|$", document("errors.md"), flags=re.M)
    assert {code: text for code, _, text in rows} == errors.CODES


@pytest.mark.parametrize(
    "family",
    [
        errors.UsageError,
        errors.InputError,
        errors.MatchError,
        errors.ServiceError,
        errors.VerificationError,
    ],
)
def test_every_family_has_its_exit_code(family: type[errors.DbimageError]):
    assert re.search(
        rf"^\| {family.exit_code} \| .+ \| `{family.__name__}` \|$", document("errors.md"), flags=re.M
    )


def test_codes_are_documented_with_mlflows():
    from plugin_entrypoints.mlflow_words import DeploymentError

    rows = re.findall(r"^\| `([a-z-]+)` \| (\d) \| .+ \| `([A-Z_]+)` \|$", document("errors.md"), flags=re.M)
    families = {family.exit_code: family for family in errors.DbimageError.__subclasses__()}
    for code, exit_code, mlflow_code in rows:
        assert DeploymentError(families[int(exit_code)](code, "x")).error_code == mlflow_code


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_of_clusters_is_documented_as_it_is(rule: Rule):
    row = f"| `{rule.id}` | {rule.demands} | {rule.runtimes} | {rule.severity} | {rule.reason} |\n"
    assert row in document("dcs.md")


def test_no_rule_of_clusters_is_documented_that_does_not_exist():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", document("dcs.md"), flags=re.M)
    assert rows == [rule.id for rule in RULES]


def test_links_between_documents_lead_somewhere():
    for path in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path}: {link}"


def test_every_test_that_shows_something_of_security_exists():
    tests = {
        name
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", document("security.md")))
    assert named
    assert named <= tests
