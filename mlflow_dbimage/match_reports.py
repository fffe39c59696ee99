"""A runtime's fit as files that pipelines read: JUnit XML, Markdown, and the Jobs API's list of libraries.

Sources: the JUnit schema that Jenkins, GitLab and Azure DevOps read; `libraries` of the Jobs API 2.1.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

from mlflow_dbimage.errors import DbimageError, MatchError, ServiceError
from mlflow_dbimage.pin_comparison import ComparedPin
from mlflow_dbimage.runtime_fit import RuntimeFit

Required = Literal["same", "compatible"]

# What XML 1.0 cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPARK = "pyspark"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The reports that are wanted, by where they go."""

    junit: Path | None = None
    markdown: Path | None = None
    libraries: Path | None = None

    def write(self, subject: str, fit: RuntimeFit, required: Required | None) -> tuple[str, ...]:
        """Write each report whole, or not at all; return the pins that no library can be, where one was wanted.

        Raises:
            ServiceError: `disk-failed`.
        """
        listed, left_out = libraries(fit)
        _write(self.junit, junit(fit, required))
        _write(self.markdown, markdown(subject, fit, required).encode())
        _write(self.libraries, (json.dumps(listed, indent=2) + "\n").encode())
        return left_out if self.libraries else ()

    def write_error(self, subject: str, error: DbimageError) -> None:
        """Write what kept a fit from being found into the reports for people.

        Raises:
            ServiceError: `disk-failed`.
        """
        _write(self.junit, junit_error(subject, error))
        _write(self.markdown, f"## {_cell(subject)}\n\n**{_cell(error.message)}**\n".encode())


def offending(fit: RuntimeFit, required: Required | None) -> tuple[ComparedPin, ...]:
    """Return the pins that do not agree as is required; none where nothing is."""
    return fit.comparison.beyond(required) if required else ()


def refusal(fit: RuntimeFit, required: Required) -> MatchError | None:
    """Return the error that says which pins do not agree as is required, all of them; None where all do."""
    pins = offending(fit, required)
    if not pins:
        return None
    listed = "".join(f"\n  {line(each)} ({each.pin.origin})" for each in pins)
    return MatchError(
        "runtime-mismatch",
        f"{len(pins)} of {len(fit.comparison.pins)} pins do not agree with `{fit.runtime.key}` as is required"
        f" (`{required}`):{listed}",
        hint="ask for the runtime's versions, choose another runtime, or put the environment into an image",
    )


def line(pin: ComparedPin) -> str:
    """Say what was asked for and what there is."""
    there = "the runtime has none" if pin.found is None else f"the runtime has {pin.found}"
    return f"{pin.pin.name} {pin.pin.wanted}".strip() + f": {pin.agreement}, {there}"


def junit(fit: RuntimeFit, required: Required | None) -> bytes:
    """Give the fit as JUnit XML: a test a pin, failed where it does not agree as is required."""
    failed = offending(fit, required)
    suite = ET.Element("testsuite", name=f"dbimage runtimes match {fit.runtime.key}")
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="spark_version", value=fit.spark_version)
    ET.SubElement(properties, "property", name="end_of_support", value=str(fit.runtime.end_of_support))
    for pin in fit.comparison.pins:
        case = ET.SubElement(suite, "testcase", classname=fit.runtime.key, name=_xml(_title(pin)), time="0")
        if pin in failed:
            ET.SubElement(case, "failure", type=pin.agreement, message=_xml(line(pin))).text = _xml(pin.pin.origin)
    return _document(suite, tests=len(fit.comparison.pins), failures=len(failed), errors=0)


def junit_error(subject: str, error: DbimageError) -> bytes:
    """Give what kept a fit from being found, as the one test of JUnit XML."""
    suite = ET.Element("testsuite", name="dbimage runtimes match")
    case = ET.SubElement(suite, "testcase", classname="dbimage", name=_xml(subject), time="0")
    ET.SubElement(case, "error", type=error.code, message=_xml(error.message)).text = _xml(str(error))
    return _document(suite, tests=1, failures=0, errors=1)


def markdown(subject: str, fit: RuntimeFit, required: Required | None) -> str:
    """Give the fit as Markdown: for a comment on a merge request."""
    failed = offending(fit, required)
    verdict = "" if required is None else f" — {'**not met**' if failed else 'met'} (`{required}` is required)"
    counts = ", ".join(f"{count} {agreement}" for agreement, count in fit.comparison.counts.items())
    ended = f"until {fit.runtime.end_of_support}" if fit.runtime.end_of_support else "not known"
    lines = [
        f"## {_cell(subject)} on {_cell(fit.runtime.name)}{verdict}",
        "",
        f"- pins: {counts}",
        f"- `spark_version` for an image: `{fit.spark_version}`",
        f"- support: {ended}; packages as of {fit.runtime.as_of}",
        *(f"- {_cell(note)}" for note in fit.notes),
        "",
        "| package | asked for | runtime | agreement |",
        "| --- | --- | --- | --- |",
    ]
    for pin in worst_first(fit.comparison.pins):
        mark = "**" if pin in failed else ""
        cells = (pin.pin.name, pin.pin.wanted or "any", pin.found or "-", f"{mark}{pin.agreement}{mark}")
        lines.append(f"| {' | '.join(map(_cell, cells[:3]))} | {cells[3]} |")
    return "\n".join(lines) + "\n"


def worst_first(pins: Sequence[ComparedPin]) -> list[ComparedPin]:
    """Return pins that are missing or changed before those that agree."""
    order = ("missing", "changed", "compatible", "same")
    return sorted(pins, key=lambda each: order.index(each.agreement))


def libraries(fit: RuntimeFit) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Give what a cluster of the runtime must install besides, as the Jobs API's `libraries`.

    Returns: the list, and the pins that no library can be: those that come from no index, and conda packages
        that the runtime lacks, since nobody knows whether an index has them. Spark is the cluster's own.
    """
    found: list[dict[str, Any]] = []
    left_out: list[str] = []
    for each in fit.comparison.pins:
        if each.satisfied or each.pin.name == _SPARK:
            continue
        if each.pin.package is None or (each.pin.manager == "conda" and each.found is None):
            left_out.append(f"{each.pin.name} {each.pin.wanted}".strip())
        else:
            found.append({"pypi": {"package": each.pin.package}})
    return found, tuple(left_out)


def _write(path: Path | None, data: bytes) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            Path(aside).chmod(0o644)  # made for its maker alone
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
    except OSError as error:
        raise ServiceError("disk-failed", f"cannot write the report `{path}`: {error.strerror}") from error


def _title(pin: ComparedPin) -> str:
    return f"{pin.pin.name} {pin.pin.wanted}".strip()


def _document(suite: ET.Element, **counts: int) -> bytes:
    numbers = {name: str(count) for name, count in counts.items()}
    suite.attrib.update({**numbers, "skipped": "0", "time": "0"})
    root = ET.Element("testsuites", numbers)
    root.append(suite)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _cell(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in one cell: files of others may hold anything."""
    return re.sub(r"\s+", " ", re.sub(r"([\\`*_{}\[\]<>|#!~&])", r"\\\1", text))
