"""Rules of an image's manifest and config."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from mlflow_dbimage.base_record import BaseRecord
from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.dcs_contract.rule import Rule, Span, Subject, Verdict, found, missing, unknown, wrong
from mlflow_dbimage.model_layers import SCORE_PATH
from mlflow_dbimage.oci.descriptor import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_LAYER_ZSTD,
    OCI_LAYER_GZIP,
    OCI_LAYER_TAR,
    OCI_LAYER_ZSTD,
)
from mlflow_dbimage.secret_patterns import secrets_in

MANY_LAYERS = 60
MOST_LAYERS = 127
#: Bytes, compressed: images of 7 to 7.8 GB were seen to time out.
LARGE_IMAGE = 7_000_000_000

_FORMS = {
    OCI_LAYER_GZIP: "gzip",
    DOCKER_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER_ZSTD: "zstd",
    OCI_LAYER_TAR: "uncompressed",
    DOCKER_LAYER_TAR: "uncompressed",
}
_ATTESTATION = "vnd.docker.reference.type"
_UTF_8 = re.compile(r".+\.utf-?8", re.IGNORECASE)

_SECRET_NAME = re.compile(
    r"(?:^|_|PG)(?:PASSWORD|PASSWD|PWD|SECRET|TOKEN|APIKEY|CREDENTIALS?"
    r"|(?:API|ACCESS|ACCOUNT|PRIVATE|SECRET|SIGNING|ENCRYPTION)_KEY)(?:_ID)?$"
)
_REFERENCE = re.compile(r"\{\{.*\}\}|/.*|\$\{?\w+\}?|\**")


def _platform(subject: Subject) -> Verdict:
    platform = str(subject.image.platform)
    return found(platform) if platform.startswith("linux/amd64") else wrong(f"it is for {platform}")


def _manifest(subject: Subject) -> Verdict:
    if subject.image.index is None:
        return found("one manifest")
    entries = json.loads(subject.image.index)["manifests"]
    attestations = sum(1 for entry in entries if _ATTESTATION in (entry.get("annotations") or {}))
    what = f"an index of {len(entries) - attestations} images"
    return wrong(f"{what} and {attestations} attestations" if attestations else what)


def _compression(subject: Subject) -> Verdict:
    forms = Counter(_FORMS.get(layer.descriptor.media_type, "unknown") for layer in subject.image.layers)
    detail = ", ".join(f"{count} {form}" for form, count in sorted(forms.items()))
    if forms["zstd"] or forms["unknown"]:
        return wrong(f"layers: {detail}")
    if forms["uncompressed"]:
        return found(f"layers: {detail}, as engines and archives keep them; a push compresses them")
    return found(f"layers: {detail}")


def _layer_count(subject: Subject) -> Verdict:
    count = len(subject.image.layers)
    if count > MOST_LAYERS:
        return wrong(f"it has {count}", severity="error")
    return wrong(f"it has {count}") if count > MANY_LAYERS else found(str(count))


def _size(subject: Subject) -> Verdict:
    layers = subject.image.layers
    total = sum(layer.descriptor.size for layer in layers)
    detail = f"{total / 1e9:.2f} GB"
    if any(_FORMS.get(layer.descriptor.media_type) == "uncompressed" for layer in layers):
        return (
            found(f"{detail}, not all compressed") if total <= LARGE_IMAGE else unknown(f"{detail} uncompressed")
        )
    return found(detail) if total <= LARGE_IMAGE else wrong(detail)


def _user(subject: Subject) -> Verdict:
    user = subject.image.user
    is_root = user.partition(":")[0] in ("", "root", "0")
    return found(user or "root, as none is named") if is_root else wrong(f"`{user}`")


def _secrets(subject: Subject) -> Verdict:
    image = subject.image
    places = [f"the variable `{name}`" for name, value in image.environment.items() if _is_secret(name, value)]
    places += [f"the label `{name}`" for name, value in image.labels.items() if secrets_in(value)]
    places += [f"step {number} of the history" for number in _telling(image.steps)]
    return wrong("; ".join(places)) if places else found("nothing that looks like one")


def _is_secret(name: str, value: str) -> bool:
    if not value or _REFERENCE.fullmatch(value):
        return False
    return _SECRET_NAME.search(name.upper()) is not None or bool(secrets_in(value))


def _telling(steps: Iterable[str]) -> list[int]:
    return [number for number, step in enumerate(steps, 1) if secrets_in(step)]


def _locale(subject: Subject) -> Verdict:
    values = {name: subject.image.environment.get(name, "") for name in ("LANG", "LC_ALL")}
    detail = ", ".join(f"{name}={value}" for name, value in values.items() if value)
    lacking = " and ".join(name for name, value in values.items() if not value)
    if lacking:
        return missing(f"{lacking} not set")
    if all(value == "C.UTF-8" for value in values.values()):
        return found(detail)
    return wrong(detail, severity="warning" if all(map(_UTF_8.fullmatch, values.values())) else None)


def _fips(subject: Subject) -> Verdict:
    value = subject.image.environment.get("OPENSSL_FORCE_FIPS_MODE")
    if value is None:
        return missing("OPENSSL_FORCE_FIPS_MODE not set")
    return found("OPENSSL_FORCE_FIPS_MODE=0") if value == "0" else wrong(f"OPENSSL_FORCE_FIPS_MODE={value}")


def _ml_runtime(subject: Subject) -> Verdict:
    if subject.asked.dcs_supported:
        return found(f"clusters of `{subject.runtime.spark_version_string}` take them")
    return wrong(f"`{subject.asked.spark_version_string}` takes none; held against `{subject.runtime.key}`")


def _recorded_runtime(subject: Subject) -> Verdict | None:
    recorded = recorded_runtime(subject.image.labels)
    if recorded is None:
        return None
    same = recorded in (subject.asked.key, subject.runtime.key)
    return found(recorded) if same else wrong(f"it was made for `{recorded}`, not `{subject.asked.key}`")


def _scoring(subject: Subject) -> Verdict | None:
    record = ImageRecord.from_labels(subject.image.labels)
    if record is None:
        return None
    if SCORE_PATH not in subject.root.executables:
        return missing(f"no program `{SCORE_PATH}`")
    if subject.image.entrypoint != (SCORE_PATH,):
        return wrong(f"the entry point is `{' '.join(subject.image.entrypoint)}`")
    kinds = Counter(layer.kind for layer in record.layers)
    ours = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return found(f"layers: {record.base_layers} of the base, {ours}")


def recorded_runtime(labels: Mapping[str, str]) -> str | None:
    """Return the runtime for which an image or a golden base of ours was made."""
    image, base = ImageRecord.from_labels(labels), BaseRecord.from_labels(labels)
    return (image.runtime if image else None) or (base.runtime if base else None)


RULES = (
    Rule(
        id="platform",
        demands="the image is for linux/amd64",
        reason="clusters with container images do not run on ARM (Databricks, compute configuration: Graviton)",
        mend="build the image for linux/amd64",
        check=_platform,
    ),
    Rule(
        id="manifest",
        demands="its name leads to one manifest, not to an index",
        reason="nobody has confirmed that clusters choose from an index; attestations make one of an image",
        mend="push one platform alone, without provenance (`docker buildx build --provenance=false`)",
        check=_manifest,
        severity="warning",
    ),
    Rule(
        id="compression",
        demands="layers are compressed by gzip",
        reason="engines up to Docker 20.10 cannot read zstd, and nobody has confirmed that clusters can",
        mend="compress the layers by gzip",
        check=_compression,
    ),
    Rule(
        id="layer-count",
        demands=f"at most {MANY_LAYERS} layers, never more than {MOST_LAYERS}",
        reason=f"Docker mounts at most {MOST_LAYERS}, and overlay mounts were seen to fail from about 70 on",
        mend="squash layers, of the base first",
        check=_layer_count,
        severity="warning",
    ),
    Rule(
        id="size",
        demands=f"at most {LARGE_IMAGE // 10**9} GB, compressed",
        reason="larger images were seen to time out while a cluster starts (databricks/containers#142, #38)",
        mend="leave out what jobs do not need, or keep the image on the instances of a pool",
        check=_size,
        severity="warning",
    ),
    Rule(
        id="user",
        demands="the image's user is root",
        reason="Databricks' own images run as root, into which the runtime is copied when a cluster starts",
        mend="end the Dockerfile with `USER root`",
        check=_user,
        severity="warning",
    ),
    Rule(
        id="secrets",
        demands="no variable, label or step of the history holds a secret",
        reason="whoever can pull the image reads them",
        mend="take them out, replace them where they are used, and give the cluster references to a secret scope",
        check=_secrets,
        severity="warning",
    ),
    Rule(
        id="ml-runtime",
        demands="the runtime's clusters take container images",
        reason="runtimes for machine learning take none (Databricks, custom containers: limitations)",
        mend="run the image on a cluster of `{spark_version}`",
        check=_ml_runtime,
        severity="warning",
    ),
    Rule(
        id="recorded-runtime",
        demands="an image of ours is held against the runtime that it was made for",
        reason="its packages were chosen for that one",
        mend="name the recorded runtime, or build the image for `{runtime}`",
        check=_recorded_runtime,
        severity="warning",
    ),
    Rule(
        id="scoring",
        demands=f"an image of ours has its entry point, `{SCORE_PATH}`",
        reason="batch jobs and the launcher on a cluster start it",
        mend="build the image again; nothing on top of it may remove or replace the entry point",
        check=_scoring,
    ),
    Rule(
        id="locale",
        demands="LANG and LC_ALL are C.UTF-8",
        reason="Unity Catalog needs them (databricks/containers dc9e266)",
        mend="set `LANG=C.UTF-8` and `LC_ALL=C.UTF-8` in the image",
        check=_locale,
        runtimes=Span(first=(15, 4)),
    ),
    Rule(
        id="fips",
        demands="OPENSSL_FORCE_FIPS_MODE is 0",
        reason="ca-certificates of Ubuntu 24.04 fails on hosts in FIPS mode (databricks/containers, minimal)",
        mend="set `OPENSSL_FORCE_FIPS_MODE=0` in the image",
        check=_fips,
        runtimes=Span(first=(16, 0)),
        severity="warning",
    ),
)
