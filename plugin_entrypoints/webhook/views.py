"""Builds in the words of the page: nothing here knows of HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.service.build import Build, Status
from plugin_entrypoints import terminal

#: The page shows them in this order, those that move first.
STATUS_ORDER: tuple[Status, ...] = ("running", "queued", "built", "failed", "cancelled", "superseded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A build in the list."""

    id: int
    status: str
    model: str
    version: str
    alias: str | None
    rule: str
    doing: str
    duration: str
    image: str
    pushed: str


def row(build: Build, now: float) -> Row:
    """Describe a build in one line."""
    return Row(
        id=build.id,
        status=build.status,
        model=build.model,
        version=build.version,
        alias=build.alias,
        rule=build.rule,
        doing=_doing(build, now),
        duration=duration(build.seconds(now)),
        image=_short(build.image),
        pushed="" if build.sent_bytes is None else terminal.size(build.sent_bytes),
    )


def counted(counts: Mapping[Status, int]) -> str:
    """Say how many builds there are of each status."""
    return ", ".join(f"{counts[each]} {each}" for each in STATUS_ORDER if counts.get(each)) or "no builds yet"


def said(build: Build) -> str:
    """Say how a build stands, in the words that a screen reader announces when they change."""
    return f"Build {build.id} is {'being cancelled' if build.cancelling else build.status}"


def facts(build: Build, now: float) -> tuple[tuple[str, str], ...]:
    """Describe what a build is at and what came of it."""
    sent = None if build.sent_bytes is None else terminal.size(build.sent_bytes)
    return _present(
        ("Stage", _doing(build, now) if build.active else ""),
        ("Duration", duration(build.seconds(now))),
        ("Attempts", str(build.attempts) if build.attempts > 1 else ""),
        ("Because", build.cause),
        ("Rule", build.rule),
        ("Deployment", build.name),
        ("Image", build.image),
        ("Digest", build.digest if build.digest and build.digest not in (build.image or "") else ""),
        ("Pushed", sent),
        ("Asked for", _moment(build.created)),
        ("Worker", build.worker),
    )


def plan(build: Build) -> tuple[tuple[str, str], ...]:
    """Describe what is to be built, and, once that is decided, from what."""
    wanted = build.shown_request
    settings = wanted.get("config") or {}
    record: Mapping[str, Any] = (build.receipt or {}).get("record") or {}
    return _present(
        ("Model URI", wanted.get("model_uri")),
        ("Destination", wanted.get("target") or "the configured one"),
        *((f"Setting {key}", str(value)) for key, value in sorted(settings.items())),
        ("Runtime", record.get("runtime")),
        ("Base image", record.get("base_reference")),
        ("Python", record.get("python")),
        ("Platform", record.get("platform")),
        ("Packages", record.get("packages")),
        ("Lock", record.get("lock_digest")),
        ("Layers", len(record["layers"]) if record.get("layers") else None),
    )


def receipt(build: Build) -> str:
    """Write a build's receipt as JSON for people; empty where there is none."""
    return json.dumps(build.receipt, indent=2) if build.receipt else ""


def duration(seconds: float | None) -> str:
    """Write a duration: `8.4 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _doing(build: Build, now: float) -> str:
    if build.status == "queued":
        wait = build.not_before - now
        return f"tries again in {duration(wait)}: {build.error_code}" if wait > 0 and build.error_code else ""
    return (build.error_code or "") if build.status == "failed" else build.stage


def _short(image: str | None) -> str:
    """Shorten the digest of an image's reference; the whole one is on the build's own page."""
    name, at, digest = (image or "").partition("@sha256:")
    return f"{name}@{digest[:12]}" if at else name


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _present(*pairs: tuple[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in pairs if value not in (None, ""))
