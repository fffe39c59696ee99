"""OSV's service, asked about each Python package: pip-audit's own client."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packaging.version import InvalidVersion, Version

from mlflow_dbimage.errors import ServiceError, UsageError
from mlflow_dbimage.evidence.advisories import Severity, Vulnerability
from mlflow_dbimage.evidence.bill_of_materials import Package

_TIME_LIMIT = 30


def asked(packages: Iterable[Package], cache: Path, url: str | None = None) -> tuple[Vulnerability, ...]:
    """Ask the service about Python packages; how bad a vulnerability is, it does not tell.

    Args:
        packages: Those of conda and pip are asked about, where their version is one of PyPI's form.
        cache: Folder of what it has answered.
        url: Of the service; OSV's own by default.

    Raises:
        UsageError: `bad-value`, pip-audit is not installed.
        ServiceError: `advisories-failed`.
    """
    try:
        from pip_audit._service import OsvService, ResolvedDependency
        from pip_audit._service.interface import ServiceError as AuditError
    except ImportError as error:
        raise UsageError(
            "bad-value",
            "asking for advisories needs the package `pip-audit`",
            hint="install `mlflow-dbimage[scan]`, or name a local copy of them",
        ) from error
    service = OsvService(cache, _TIME_LIMIT, **({} if url is None else {"osv_url": url}))
    found: list[Vulnerability] = []
    for package in packages:
        version = _version(package)
        if version is None:
            continue
        try:
            _, results = service.query(ResolvedDependency(package.name, version))
        except (AuditError, OSError, ValueError) as error:
            raise ServiceError(
                "advisories-failed",
                f"the service of advisories does not answer for {package.name} {package.version}: {error}",
                hint="name a local copy of them instead",
            ) from error
        found += [
            Vulnerability(
                package=package,
                advisory=str(each.id),
                aliases=tuple(sorted(map(str, each.aliases))),
                severity=Severity.UNKNOWN,
                summary=each.description[:200],
                fixed_in=tuple(map(str, each.fix_versions)),
            )
            for each in results
        ]
    return tuple(sorted(found, key=lambda each: (each.package.name, each.advisory)))


def _version(package: Package) -> Version | None:
    if package.manager == "system":
        return None
    try:
        return Version(package.version)
    except InvalidVersion:
        return None
