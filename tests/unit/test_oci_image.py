"""Images, and how they grow."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.oci.descriptor import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
)
from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.image import Addition, Image, RunConfig, append, canonical_json, read_image
from mlflow_dbimage.oci.validate import problems
from oci_samples import LINUX, foreign_tar, image_of, plain_layer

LAYERS = tuple(plain_layer(foreign_tar([(name, b"x")])) for name in "abc")
BASE = image_of(LAYERS[0])


def with_config(image: Image, **changes: Any) -> Image:
    return replace(image, config=canonical_json({**json.loads(image.config), **changes}))


def run_config(image: Image) -> dict[str, Any]:
    return json.loads(image.config)["config"]


def test_layers_are_put_on_top_with_a_line_of_history_each() -> None:
    additions = [
        Addition(layer=layer, created_by=f"by {n}", comment="c" * n) for n, layer in enumerate(LAYERS[1:])
    ]
    image = append(BASE, additions, RunConfig(), annotations={"b": "2", "a": "1"})
    config = json.loads(image.config)
    assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in LAYERS]
    assert [line["created_by"] for line in config["history"]] == ["root file system", "by 0", "by 1"]
    assert [line.get("comment") for line in config["history"]] == [None, None, "c"]
    assert (image.platform, image.annotations) == (LINUX, {"a": "1", "b": "2"})
    assert image.descriptor.digest == image.digest == Digest.of(image.manifest)
    assert image.config_descriptor.digest == Digest.of(image.config)
    assert problems(image) == ()


def test_equal_inputs_give_literal_digests() -> None:
    """Bytes of config and manifest do not depend on any library; a change here changes everybody's images."""
    base, addition = image_of(plain_layer(b"base")), Addition(layer=plain_layer(b"top"), created_by="x")
    image = append(base, [addition], RunConfig(labels={"é": "ü"}), annotations={"k": "v"})
    assert (
        str(Digest.of(image.config)) == "sha256:72f7bd4ca6456fb5f47ad1bfe152ee6420a6dadb425ff5aff90215285f373e86"
    )
    assert str(image.digest) == "sha256:63ec8806c84d44388bb57f9cb2cef573b621021fb656e2c00948fd2de5e2fcd0"


def test_an_image_of_docker_becomes_one_of_oci() -> None:
    layer = replace(LAYERS[0], descriptor=replace(LAYERS[0].descriptor, media_type=DOCKER_LAYER_GZIP))
    base = with_config(
        replace(BASE, media_type=DOCKER_MANIFEST, layers=(layer,)), container="c", docker_version="20"
    )
    image = append(base, [], RunConfig())
    assert image.media_type == json.loads(image.manifest)["mediaType"] == OCI_MANIFEST
    assert image.layers[0].descriptor.media_type == OCI_LAYER_GZIP
    assert not {"container", "docker_version"} & set(json.loads(image.config))


@given(
    st.dictionaries(st.sampled_from("ABC"), st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from("ABC"), st.text(max_size=3), max_size=3),
)
def test_environment_and_labels_are_joined_by_key(base: dict[str, str], added: dict[str, str]) -> None:
    image = append(BASE, [], RunConfig(environment=base, labels=base))
    image = append(image, [], RunConfig(environment=added, labels=added))
    path = BASE.environment["PATH"]
    assert image.environment == {"PATH": path, **base, **added}
    assert image.labels == {**base, **added}


def test_a_variable_without_a_value_is_kept() -> None:
    base = with_config(BASE, config={"Env": ["EMPTY", "A=b=c"]})
    assert append(base, [], RunConfig()).environment == {"EMPTY": "", "A": "b=c"}


def test_unset_means_as_the_base_has_it() -> None:
    base = with_config(BASE, config={"Entrypoint": ["e"], "Cmd": ["c"], "User": "u", "WorkingDir": "/w"})
    assert run_config(append(base, [], RunConfig())) == run_config(base)


def test_an_entry_point_does_not_inherit_the_command() -> None:
    base = with_config(BASE, config={"Entrypoint": ["e"], "Cmd": ["c"]})
    assert run_config(append(base, [], RunConfig(entrypoint=["new"]))) == {"Entrypoint": ["new"]}
    assert run_config(append(base, [], RunConfig(command=["new"]))) == {"Entrypoint": ["e"], "Cmd": ["new"]}
    both = append(base, [], RunConfig(entrypoint=["a"], command=["b"], user="1", working_directory="/"))
    assert run_config(both) == {"Entrypoint": ["a"], "Cmd": ["b"], "User": "1", "WorkingDir": "/"}


def test_what_a_config_says_of_how_it_is_run_and_was_made() -> None:
    image = with_config(
        BASE,
        config={"Entrypoint": ["e", "f"], "User": "u:g"},
        history=[{"created_by": "one"}, {"empty_layer": True}],
    )
    assert (image.entrypoint, image.user, image.steps) == (("e", "f"), "u:g", ("one", ""))
    unset = with_config(BASE, config={"Entrypoint": None, "User": ""}, history=None)
    assert (unset.entrypoint, unset.user, unset.steps) == ((), "", ())


def test_a_base_without_history_gets_a_line_for_each_layer() -> None:
    image = append(with_config(BASE, history=[]), [Addition(layer=LAYERS[1], created_by="x")], RunConfig())
    assert len(json.loads(image.config)["history"]) == 2


def test_lines_of_history_without_a_layer_stay() -> None:
    history = [{"created_by": "env", "empty_layer": True}, {"created_by": "files"}]
    image = append(with_config(BASE, history=history), [], RunConfig())
    assert json.loads(image.config)["history"] == history


def test_a_history_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="describes 2 layers, but it has 1"):
        append(with_config(BASE, history=[{}, {}]), [], RunConfig())


def test_an_image_is_read_from_its_two_documents() -> None:
    opened: list[Descriptor] = []

    def opener(descriptor: Descriptor):
        opened.append(descriptor)
        return LAYERS[0].open

    image = read_image(BASE.manifest, OCI_MANIFEST, BASE.config, opener)
    assert (image.digest, image.layers[0].diff_id) == (BASE.digest, BASE.layers[0].diff_id)
    assert opened == [BASE.layers[0].descriptor]


def test_documents_that_do_not_fit_are_refused() -> None:
    config = canonical_json({"rootfs": {"diff_ids": []}})
    with pytest.raises(ValueError, match="1 layers, the config 0 diff IDs"):
        read_image(BASE.manifest, OCI_MANIFEST, config, lambda each: LAYERS[0].open)
