"""What builds attach to their images, by the real command: in layouts and registries, signed, without secrets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.package_index import PackageIndex, serve
from light_build import Bench, greeting_wheel, light_model, light_settings, tiny_base
from mlflow_dbimage.backends.signing_keys import verifying_key
from mlflow_dbimage.evidence.envelope import Envelope
from mlflow_dbimage.oci.artifact import referrers_tag
from mlflow_dbimage.oci.descriptor import Descriptor
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.registry import Registry, Repository
from services.registry_server import registry_server
from signing_samples import key_pair, openssl

pytestmark = [pytest.mark.slow, pytest.mark.channel, pytest.mark.registry]

CANARY = "canary-key-password-88c1"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    greeting_wheel(folder)
    with serve(PackageIndex(directory=folder)) as running:
        yield running


@pytest.fixture(scope="module")
def bench(conda_channel, index: PackageIndex, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    settings = light_settings(conda_channel.url, tiny_base(folder / "base" / "base.tar"), index.url)
    return Bench(folder=folder, model=light_model(folder / "model"), cache=folder / "cache", settings=settings)


def shown(bench: Bench, name: str, *arguments: object) -> dict[str, Any]:
    done = bench.run("inspect", name, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_layout_keeps_what_the_image_holds_and_how_it_was_made(bench: Bench) -> None:
    receipt = bench.receipt("first", "-C", "sbom=spdx")
    bill = shown(bench, "first", "--sbom")
    purls = {each["purl"] for each in bill["components"] if "purl" in each}
    assert "pkg:pypi/greeting@1.0" in purls
    assert [each for each in purls if each.startswith("pkg:conda/python@3.11.")]
    assert bill["metadata"]["component"]["version"] == receipt["digest"]
    assert {each["name"] for each in shown(bench, "first", "--spdx")["packages"]} >= {"greeting", "python"}
    made = shown(bench, "first", "--provenance")
    assert made["subject"][0]["digest"] == {"sha256": str(receipt["digest"]).removeprefix("sha256:")}
    dependencies = made["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [each["name"] for each in dependencies] == ["model", "base image", "environment lock"]
    assert str(bench.folder) not in json.dumps([bill, made])


def test_equal_inputs_give_equal_evidence_and_no_second_copy(bench: Bench) -> None:
    documents = []
    for name in ("second", "third"):
        bench.receipt(name, "-C", "sbom=spdx")  # as the first: of equal images, any provenance may be shown
        documents.append([shown(bench, name, "--sbom"), shown(bench, name, "--provenance")["predicate"]])
    assert documents[0] == documents[1]
    digest = Digest.parse(str(bench.receipt("third", "--mode", "replace")["digest"]))
    index = json.loads((bench.target / "index.json").read_bytes())
    tags = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]
    assert tags.count(referrers_tag(digest)) == 1


def test_a_signed_image_in_a_registry_is_checked_by_openssl_and_skopeo(bench: Bench, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path / "keys", password=CANARY)
    with registry_server(tmp_path / "registry") as running:
        target = f"//{running.host}/models"
        arguments = ("-t", target, "-C", f"sign_key={private}")
        receipt = bench.receipt("signed", *arguments, DBIMAGE_SIGN_PASSWORD=CANARY)
        digest = Digest.parse(str(receipt["digest"]))
        shown(bench, "signed", "--provenance", "--key", public, "-t", target)
        repository = Repository(Registry(running.host), "models/signed")
        assert referrers_tag(digest) not in receipt["tags"]

        _, manifest = repository.resolve(f"sha256-{digest.hex}.sig")
        (layer,) = json.loads(manifest)["layers"]
        signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
        (tmp_path / "payload").write_bytes(repository.blob(Descriptor.from_dict(layer)))
        (tmp_path / "signature.base64").write_text(signature)
        openssl("base64", "-d", "-A", "-in", tmp_path / "signature.base64", "-out", tmp_path / "signature")
        checked = ("-verify", public, "-signature", tmp_path / "signature", tmp_path / "payload")
        assert openssl("dgst", "-sha256", *checked).stdout == b"Verified OK\n"
        identity = json.loads((tmp_path / "payload").read_bytes())["critical"]["identity"]
        assert identity == {"docker-reference": f"{running.host}/models/signed"}

        _, attested = repository.resolve(f"sha256-{digest.hex}.att")
        for each in json.loads(attested)["layers"]:
            sealed = Envelope.from_bytes(repository.blob(Descriptor.from_dict(each)))
            assert sealed.verified_by(verifying_key(public))

        place = f"docker://{running.host}/models/signed:{referrers_tag(digest)}"
        raw = ["skopeo", "inspect", "--tls-verify=false", "--raw", place]
        listed = json.loads(subprocess.run(raw, capture_output=True, text=True, check=True).stdout)
        assert {each["artifactType"] for each in listed["manifests"]} == {
            "application/vnd.cyclonedx+json",
            "application/vnd.dsse.envelope.v1+json",
        }
        _no_secret(tmp_path / "registry", bench, receipt)


def test_a_key_that_cannot_be_read_costs_nothing(bench: Bench, tmp_path: Path) -> None:
    missing = tmp_path / "no-model"
    command = ["build", missing, "--name", "x", "-t", f"oci:{tmp_path}/images"]
    done = bench.run(*command, "-C", f"sign_key={tmp_path / 'missing.key'}", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "bad-key"
    assert not (tmp_path / "images").exists()


def _no_secret(registry: Path, bench: Bench, receipt: dict[str, Any]) -> None:
    assert CANARY not in json.dumps(receipt)
    for folder in (registry, bench.folder):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert CANARY.encode() not in path.read_bytes(), path
