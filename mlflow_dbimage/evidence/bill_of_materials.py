"""What is in an image, as a bill of materials: the model, the packages of its environment, those of its base.

Equal for equal inputs: times are constant, identifiers come from the contents.

Source: CycloneDX 1.6; SPDX 2.3; the purl specification, types `conda`, `deb` and `pypi`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from packageurl import PackageURL

from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import CONSTANT_TIME, canonical_json

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component

CYCLONEDX_TYPE = "application/vnd.cyclonedx+json"
SPDX_TYPE = "application/spdx+json"

_TOOL = "mlflow-dbimage"
_IMAGE, _MODEL = "image", "model"
_NOTHING = "NOASSERTION"
_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9.-]+")

Manager = Literal["conda", "pip", "system"]
#: By the type of a package's URL.
_MANAGERS: Mapping[str, Manager] = {"conda": "conda", "pypi": "pip", "deb": "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of an image."""

    manager: Manager
    """Who brings it: conda, pip, or the operating system of the base."""
    name: str
    version: str
    purl: str
    sha256: str | None = None
    """Of its archive or wheel, 64 hexadecimal digits; not known of a base's packages."""
    licence: str | None = None
    """As the package says it: an SPDX expression, or a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an image holds."""

    model_name: str
    model_version: str | None
    model_uri: str
    model_digest: str
    image: Digest
    packages: tuple[Package, ...]


def conda_purl(name: str, version: str, *, build: str, channel: str, subdir: str) -> str:
    """Return the package URL of a conda package; a channel that is a URL is left out: it may be a mirror."""
    qualifiers = {"build": build, "subdir": subdir}
    if "/" not in channel:
        qualifiers["channel"] = channel
    return PackageURL("conda", None, name, version, qualifiers).to_string()


def pip_purl(name: str, version: str) -> str:
    """Return the package URL of a wheel or source distribution."""
    return PackageURL("pypi", None, name, version).to_string()


def system_purl(
    name: str, version: str, *, distribution: str, release: str, architecture: str, source: str | None = None
) -> str:
    """Return the package URL of a package of Debian or Ubuntu.

    Args:
        name: Of the package.
        version: With epoch and revision.
        distribution: `debian`, `ubuntu`.
        release: `12`, `22.04`.
        architecture: As dpkg says it: `amd64`, `all`.
        source: The source package that it is made from, where that has another name or version: `openssl@3.0`.
            Advisories speak of those.
    """
    qualifiers = {"arch": architecture, "distro": f"{distribution}-{release}"}
    if source is not None:
        qualifiers["upstream"] = source
    return PackageURL("deb", distribution, name, version, qualifiers).to_string()


def cyclonedx(contents: Contents, tool_version: str) -> bytes:
    """Write the bill of materials as CycloneDX JSON.

    Every image has one, so it says each thing once: packages are referred to by their number, since readers tell
    them apart by that, and who manages one is the type of its URL. What packages need each other is not known, and
    so none is listed as needing nothing.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    image = Component(
        type=ComponentType.CONTAINER,
        name=contents.model_name,
        version=str(contents.image),
        bom_ref=_IMAGE,
    )
    metadata = BomMetaData(component=image, timestamp=datetime.fromisoformat(CONSTANT_TIME.replace("Z", "+00:00")))
    metadata.tools.components.add(Component(type=ComponentType.APPLICATION, name=_TOOL, version=tool_version))
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, str(contents.image)), metadata=metadata)
    packages = [_component(str(number), each) for number, each in enumerate(_in_order(contents.packages))]
    components = [_model_component(contents), *packages]
    bom.components.update(components)
    bom.register_dependency(image, components)
    document = read_json(JsonV1Dot6(bom).output_as_string())
    document["dependencies"] = [each for each in document["dependencies"] if "dependsOn" in each]
    return canonical_json(document)


def spdx(contents: Contents, tool_version: str) -> bytes:
    """Write the bill of materials as SPDX JSON."""
    root = {
        "SPDXID": "SPDXRef-image",
        "name": contents.model_name,
        "versionInfo": str(contents.image),
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
    }
    model = {
        "SPDXID": "SPDXRef-model",
        "name": contents.model_name,
        "versionInfo": contents.model_version or _NOTHING,
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "comment": f"MLflow model {contents.model_uri}, {contents.model_digest}",
    }
    packages = [_spdx_package(number, each) for number, each in enumerate(_in_order(contents.packages))]
    described = [model, *packages]
    return canonical_json(
        {
            "spdxVersion": "SPDX-2.3",
            "SPDXID": "SPDXRef-DOCUMENT",
            "dataLicense": "CC0-1.0",
            "name": contents.model_name,
            "documentNamespace": f"https://dbimage.dev/spdx/{contents.image.hex}",
            "creationInfo": {"created": CONSTANT_TIME, "creators": [f"Tool: {_TOOL}-{tool_version}"]},
            "packages": [root, *described],
            "relationships": [
                _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
                *(_relation("SPDXRef-image", "CONTAINS", str(each["SPDXID"])) for each in described),
            ],
        }
    )


def read_packages(bill: bytes) -> tuple[Package, ...]:
    """Return the packages of a bill that `cyclonedx` wrote.

    Raises:
        ValueError: It is no such bill.
    """
    try:
        components = read_json(bill)["components"]
        return tuple(_package_of(each) for each in components if each.get("purl"))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a bill of materials in CycloneDX: {error}") from None


def _in_order(packages: Iterable[Package]) -> Sequence[Package]:
    return sorted(packages, key=lambda each: (each.manager, each.name, each.version, each.purl))


def _model_component(contents: Contents) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=contents.model_name,
        version=contents.model_version,
        bom_ref=_MODEL,
        hashes=_sha256(contents.model_digest.removeprefix("sha256:")),
        properties=[Property(name="mlflow:uri", value=contents.model_uri)],
    )


def _component(reference: str, package: Package) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=PackageURL.from_string(package.purl),
        bom_ref=reference,
        hashes=_sha256(package.sha256),
        licenses=[LicenseFactory().make_from_string(package.licence)] if package.licence else [],
    )


def _sha256(content: str | None) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=content)] if content else []


def _package_of(component: dict[str, Any]) -> Package:
    manager = _MANAGERS.get(PackageURL.from_string(component["purl"]).type)
    if manager is None:
        raise ValueError(f"a package that nobody here manages: `{component['purl']}`")
    hashes = [each["content"] for each in component.get("hashes") or () if each["alg"] == "SHA-256"]
    licences = [
        each.get("expression") or each["license"].get("id") or each["license"].get("name")
        for each in component.get("licenses") or ()
    ]
    return Package(
        manager=manager,
        name=str(component["name"]),
        version=str(component["version"]),
        purl=component["purl"],
        sha256=str(hashes[0]) if hashes else None,
        licence=str(licences[0]) if licences else None,
    )


def _spdx_package(number: int, package: Package) -> dict[str, Any]:
    checksums = [{"algorithm": "SHA256", "checksumValue": package.sha256}] if package.sha256 else []
    reference = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": package.purl,
    }
    return {
        "SPDXID": f"SPDXRef-{number}-{_NOT_OF_AN_ID.sub('-', package.name)}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": _NOTHING,
        "filesAnalyzed": False,
        "externalRefs": [reference],
        **({"checksums": checksums} if checksums else {}),
        # Free words are no expression that SPDX takes as declared.
        **({"licenseComments": package.licence} if package.licence else {}),
    }


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
