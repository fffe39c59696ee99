"""Which event builds what: the `[[rules]]` of the configuration, of which the first that matches wins.

[[rules]]
name = "champions"                  # of the rule
on = "alias-set"                    # or version-created, tag-set
model = "churn*"                    # patterns: * ? [ ]
alias = "champion"                  # of alias-set; `tag` and `value` of tag-set
deployment = "{model}-{alias}"      # name of the image
target = "//registry.example/models"
runtime = "15.4-lts"
priority = 10                       # higher is sooner
[rules.config]                      # further keys of a deployment
compression = "zstd"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from string import Formatter
from typing import Any

from mlflow_dbimage.errors import DbimageError, UsageError
from mlflow_dbimage.service.build import Order
from mlflow_dbimage.service.events import KINDS, OWN_TAGS, Event, Kind
from mlflow_dbimage.settings_sources import Surroundings, load

#: What may be asked of an event, by its kind.
_PATTERNS: Mapping[Kind, tuple[str, ...]] = {
    "version-created": ("model",),
    "alias-set": ("model", "alias"),
    "tag-set": ("model", "tag", "value"),
}
_TEXTS = ("name", "on", "model", "alias", "tag", "value", "deployment", "target", "runtime")
_KEYS = (*_TEXTS, "priority", "config")
_MOST_URGENT = 1000
_JOINTS = "._-"
# Keys that a call may have, and a build of the service may not.
_NOT_HERE = ("dry_run", "config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; a pattern that is not its kind's matches anything."""

    name: str
    on: Kind
    model: str = "*"
    alias: str = "*"
    tag: str = "*"
    value: str = "*"
    deployment: str
    """Template of the deployment's name: `{model}`, `{version}` and, of `alias-set`, `{alias}`."""
    target: str | None = None
    """Where the image goes; None for the configured destination."""
    config: Mapping[str, Any]
    """Keys of the deployment."""
    priority: int = 0

    def why_not(self, event: Event) -> str | None:
        """Say why an event does not match, or None where it does."""
        if event.kind == "tag-set" and str(event.key).startswith(OWN_TAGS):
            return f"`{event.key}` is a tag of our own, which builds nothing"
        if event.kind != self.on:
            return f"it is for `{self.on}`"
        values = {"model": event.model, "alias": event.alias, "tag": event.key, "value": event.value}
        for key in _PATTERNS[self.on]:
            pattern, value = getattr(self, key), values[key] or ""
            if not fnmatchcase(value, pattern):
                return f"its {key} is `{pattern}`, and the event's is `{value}`"
        return None

    def order(self, event: Event) -> Order:
        """Return what it wants built for an event that matches."""
        name = deployment_name(self.deployment, event.model, event.version, event.alias)
        request = {
            "model_uri": f"models:/{event.model}/{event.version}",
            "target": self.target,
            "config": dict(self.config),
        }
        return Order(rule=self.name, name=name, request=request, priority=self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which rule an event meets, and why not those before it."""

    rule: Rule | None
    reasons: tuple[tuple[str, str], ...]
    """Name of the rule, and what there is to say of it; all rules, in their order."""


def deployment_name(template: str, model: str, version: str, alias: str | None = None) -> str:
    """Return the name that a template gives the deployment of a model version, whatever characters they have."""
    words = {"model": model, "version": version, "alias": alias or ""}
    return template.format(**{key: _as_name(value) for key, value in words.items()}).strip(_JOINTS)


def choose(event: Event, rules: Iterable[Rule]) -> Rule | None:
    """Return the first rule that an event meets."""
    return next((rule for rule in rules if rule.why_not(event) is None), None)


def explain(event: Event, rules: Iterable[Rule]) -> Explanation:
    """Say which rule an event meets, and why the others are not it."""
    chosen: Rule | None = None
    reasons = []
    for rule in rules:
        why_not = rule.why_not(event)
        if why_not is None:
            why_not = "it matches" if chosen is None else f"`{chosen.name}` comes first"
            chosen = chosen or rule
        reasons.append((rule.name, why_not))
    return Explanation(rule=chosen, reasons=tuple(reasons))


def read(tables: Iterable[Mapping[str, object]], surroundings: Surroundings | None = None) -> tuple[Rule, ...]:
    """Read rules from their tables.

    Args:
        tables: `Settings.rules`.
        surroundings: Against which the keys of deployments are checked; those of this process by default.

    Raises:
        UsageError: `bad-value`; the text lists all problems of all rules.
    """
    rules, problems = [], []
    names: set[str] = set()
    for number, table in enumerate(tables, 1):
        label = f"rule `{table['name']}`" if isinstance(table.get("name"), str) else f"rule {number}"
        found = [*_problems(table), *_config_problems(table, surroundings)]
        if table.get("name") in names:
            found.append("another rule has that name")
        names.add(str(table.get("name")))
        problems += [f"{label}: {problem}" for problem in found]
        if not found:
            rules.append(_rule(table))
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise UsageError("bad-value", f"the rules are wrong:{lines}", hint="mend them in `dbimage.toml`")
    return tuple(rules)


def _rule(table: Mapping[str, Any]) -> Rule:
    plain = {key: value for key, value in table.items() if key not in ("runtime", "config", "deployment")}
    config = dict(table.get("config", {}))
    if "runtime" in table:
        config["runtime"] = table["runtime"]
    usual = "{model}-{alias}" if table["on"] == "alias-set" else "{model}"
    return Rule(**plain, config=config, deployment=table.get("deployment", usual))


def _problems(table: Mapping[str, object]) -> list[str]:
    problems = [f"`{key}` is no known key{_nearest(key)}" for key in table if key not in _KEYS]
    problems += [f"`{key}` is not a text" for key in _TEXTS if key in table and not _is_text(table[key])]
    problems += [f"it has no `{key}`" for key in ("name", "on") if key not in table]
    priority = table.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > _MOST_URGENT:
        problems.append(f"`priority` is not a whole number from -{_MOST_URGENT} to {_MOST_URGENT}")
    if not problems:
        problems += _problems_of_kind(table)
    return problems


def _problems_of_kind(table: Mapping[str, Any]) -> list[str]:
    kind = table["on"]
    if kind not in KINDS:
        return [f"`on` cannot be `{kind}`: it takes {', '.join(f'`{each}`' for each in KINDS)}"]
    foreign = {"alias", "tag", "value"} - set(_PATTERNS[kind])
    problems = [f"`{key}` is not of `{kind}`" for key in sorted(foreign & set(table))]
    return problems + _template_problems(table.get("deployment", "{model}"), kind)


def _template_problems(template: str, kind: Kind) -> list[str]:
    known = ("model", "version", "alias") if kind == "alias-set" else ("model", "version")
    listed = ", ".join(f"`{{{each}}}`" for each in known)
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return [f"`deployment` is no template: {error}"]
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = all(not spec and conversion is None for _, field, spec, conversion in parts if field is not None)
    if not plain or not set(fields) <= set(known):
        return [f"in `deployment` only {listed} are replaced"]
    return []


def _config_problems(table: Mapping[str, object], surroundings: Surroundings | None) -> list[str]:
    config, target = table.get("config", {}), table.get("target")
    if not isinstance(config, Mapping):
        return ["`config` is not a table"]
    problems = [f"`{key}` cannot be in `config`" for key in _NOT_HERE if key in config]
    if "runtime" in table:
        if "runtime" in config:
            problems.append("it has two `runtime`")
        config = {**config, "runtime": table["runtime"]}
    try:
        load(config, target=target if isinstance(target, str) else None, surroundings=surroundings)
    except DbimageError as error:
        problems.append(error.message.replace("\n", "\n  "))
    return problems


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(str(key), _KEYS, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _as_name(text: str) -> str:
    """Make of any text what can be part of a deployment's name."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    single = re.sub(r"[._-]{2,}", lambda run: "." if "." in run[0] else "-", plain)
    return single.strip(_JOINTS)
