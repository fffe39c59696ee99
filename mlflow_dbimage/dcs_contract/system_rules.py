"""Rules of the operating system: what Databricks' `minimal` image has, by the recipes of its branches."""

from __future__ import annotations

from functools import partial

from mlflow_dbimage.cluster_roots.cluster_root import PACKAGES
from mlflow_dbimage.dcs_contract.rule import ALL, Rule, Span, Subject, Verdict, found, missing, unknown, wrong
from mlflow_dbimage.runtimes.runtime import GLIBC

_LIBRARIES = "libraries"


def _system(subject: Subject) -> Verdict:
    release = subject.root.os_release
    if not release:
        return missing("no `/etc/os-release`")
    name, version = release.get("ID", ""), release.get("VERSION_ID", "")
    detail = release.get("PRETTY_NAME") or f"{name} {version}".strip()
    if name != "ubuntu":
        return wrong(detail)
    return found(detail) if version in subject.ubuntu else wrong(detail, severity="warning")


def _glibc(subject: Subject) -> Verdict:
    version = subject.root.glibc
    if version is None:
        return missing("no glibc")
    oldest = min((GLIBC[release] for release in subject.ubuntu if release in GLIBC), key=_numbers, default=version)
    if _numbers(version) < _numbers(oldest):
        return wrong(f"{version}; the runtime has {oldest}", severity="warning")
    return found(version)


def _java(subject: Subject) -> Verdict:
    java = subject.root.java
    if java is None:
        return missing("no `java` on PATH")
    where = f"`/{java.path}`"
    if java.major is None:
        return unknown(f"{where} does not say its version")
    detail = f"{java.version} ({where})"
    return found(detail) if java.major == subject.runtime.java else wrong(detail)


def _compiler(subject: Subject) -> Verdict | None:
    java = subject.root.java
    if java is None:
        return None
    return found("`javac` beside `java`") if java.has_compiler else missing(f"no `javac` beside `/{java.path}`")


def _package(package: str, subject: Subject) -> Verdict:
    program = PACKAGES[package]
    if program in subject.root.programs:
        return found(f"`{program}`")
    if package in subject.root.installed:
        return found(f"installed, by dpkg, though `{program}` is not on PATH")
    return missing(f"neither `{program}` nor, by dpkg, the package")


def _libraries_user(subject: Subject) -> Verdict:
    users = subject.root.users
    if _LIBRARIES not in users:
        return missing(f"no user `{_LIBRARIES}` in `/etc/passwd`")
    if users[_LIBRARIES] is None:
        return unknown("`/etc/shadow` does not say whether it is locked")
    return found("locked") if users[_LIBRARIES] else wrong("it is not locked", severity="warning")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _package_rule(package: str, reason: str, runtimes: Span = ALL) -> Rule:
    return Rule(
        id=package,
        demands=f"{package} is installed",
        reason=reason,
        mend=f"apt-get install {package}",
        check=partial(_package, package),
        runtimes=runtimes,
    )


_DOCUMENTED = "clusters need it to start (Databricks, custom containers: build your base from scratch)"

RULES = (
    Rule(
        id="system",
        demands="the system is Ubuntu, of the runtime's release",
        reason="clusters refuse others (DOCKER_INVALID_OS_EXCEPTION); the runtime is built for its own release",
        mend="build on `ubuntu:{ubuntu}`, or on Databricks' own image",
        check=_system,
    ),
    Rule(
        id="glibc",
        demands="there is a glibc, not older than the runtime's",
        reason="the runtime that is copied into the image is linked to it",
        mend="build on Ubuntu {ubuntu}",
        check=_glibc,
    ),
    Rule(
        id="java",
        demands="`java` on PATH is of the runtime's major version",
        reason="Spark's driver and executors run on the image's Java, and the runtime is built for one version",
        mend="install JDK {java} and make it the default (`update-alternatives --set java ...`)",
        check=_java,
    ),
    Rule(
        id="jdk",
        demands="Java is a JDK",
        reason="a JDK is what is documented; with a JRE alone nobody has tried",
        mend="install JDK {java}, not its JRE alone",
        check=_compiler,
        severity="warning",
    ),
    *(_package_rule(each, _DOCUMENTED) for each in ("bash", "iproute2", "coreutils", "procps", "sudo")),
    _package_rule("acl", "Databricks' own images have it (databricks/containers a81e99c)", Span(first=(13, 3))),
    Rule(
        id="libraries-user",
        demands="there is a user `libraries`, locked",
        reason="libraries of clusters are installed as it (databricks/containers 2b09d25)",
        mend="useradd libraries && usermod -L libraries",
        check=_libraries_user,
        runtimes=Span(first=(13, 3)),
    ),
)
