"""Settings: one table, four sources, every problem at once, and no secret shown."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.oci.descriptor import Platform
from mlflow_dbimage.setting_kinds import masked
from mlflow_dbimage.settings import KEYS, Scope, Settings
from mlflow_dbimage.settings_sources import FILE_NAME, Surroundings, load


@pytest.fixture
def places(tmp_path):
    """Surroundings in which nothing is set; `environment` is a dict to fill."""
    (tmp_path / "project" / "inner").mkdir(parents=True)
    return Surroundings(environment={}, directory=tmp_path / "project" / "inner", user_file=tmp_path / "user.toml")


def test_defaults(places):
    settings = load(surroundings=places)
    assert settings.platform == Platform("linux", "amd64")
    assert settings.layers == 12
    assert settings.target is None
    assert settings.destination.transport == "oci"
    assert {origin for _, _, origin in settings.explained()} == {"default"}


def test_nearest_source_wins_key_by_key(places):
    places.user_file.write_text("layers = 1\ntag = 'user'\nruntime = 'user'\ninsecure = true\n")
    (places.directory.parent / FILE_NAME).write_text("layers = 2\ntag = 'project'\nruntime = 'project'\n")
    places.environment.update(DBIMAGE_LAYERS="3", DBIMAGE_TAG="environment")
    settings = load({"layers": "4"}, surroundings=places)
    assert (settings.layers, settings.tag, settings.runtime, settings.insecure) == (
        4,
        "environment",
        "project",
        True,
    )
    origins = {name: origin for name, _, origin in settings.explained()}
    assert origins["layers"] == "-C"
    assert origins["tag"] == "DBIMAGE_TAG"
    assert origins["runtime"] == str(places.directory.parent / FILE_NAME)
    assert origins["insecure"] == str(places.user_file)
    assert origins["bytecode"] == "default"


def test_the_nearest_project_file_is_taken_alone(places):
    (places.directory.parent / FILE_NAME).write_text("layers = 2\ntag = 'outer'\n")
    (places.directory / FILE_NAME).write_text("layers = 3\n")
    settings = load(surroundings=places)
    assert (settings.layers, settings.tag) == (3, None)


@pytest.mark.parametrize("by", ["caller", "environment"])
def test_a_named_file_replaces_the_others(places, tmp_path, by):
    (places.directory / FILE_NAME).write_text("layers = 3\n")
    other = tmp_path / "other.toml"
    other.write_text("tag = 'other'\n")
    if by == "environment":
        places.environment["DBIMAGE_CONFIG"] = str(other)
    settings = load({"config": str(other)} if by == "caller" else None, surroundings=places)
    assert (settings.layers, settings.tag) == (12, "other")


def test_a_named_file_that_is_missing_is_a_bad_value(places):
    with pytest.raises(UsageError, match=r"`config` \(-C\) cannot be `nowhere.toml`") as caught:
        load({"config": "nowhere.toml"}, surroundings=places)
    assert caught.value.code == "bad-value"


def test_every_problem_of_every_source_is_told_at_once(places):
    (places.directory / FILE_NAME).write_text("layer = 2\ncompression = 'lzma'\ndry_run = true\n")
    places.environment["DBIMAGE_OFFLINE"] = "maybe"
    with pytest.raises(UsageError) as caught:
        load({"chanels": "x", "layers": "0", "cache_dir": "/x", "input": "rows.csv"}, surroundings=places)
    text = caught.value.message
    for expected in (
        "8 settings are wrong",
        "`chanels` (-C) is no known key; did you mean `channels`?",
        "`layers` (-C) cannot be `0`: it takes a whole number from 1 to 40",
        "`cache_dir` (-C) is not a key of one deployment: set it in `dbimage.toml` or as `DBIMAGE_CACHE_DIR`",
        "`input` (-C) is a key of a local run only",
        "`offline` (DBIMAGE_OFFLINE) cannot be `maybe`: it takes `true` or `false`",
        "did you mean `layers`?",
        "cannot be `lzma`: it takes `gzip` or `zstd`",
        "`dry_run` ",
    ):
        assert expected in text


def test_a_single_problem_is_one_line(places):
    with pytest.raises(UsageError) as caught:
        load({"runtme": "15.4-lts"}, surroundings=places)
    assert caught.value.code == "unknown-key"
    assert caught.value.message == "`runtme` (-C) is no known key; did you mean `runtime`?"
    assert caught.value.hint


def test_a_value_that_is_overridden_must_be_right_too(places):
    places.environment["DBIMAGE_LAYERS"] = "many"
    with pytest.raises(UsageError, match="DBIMAGE_LAYERS"):
        load({"layers": "4"}, surroundings=places)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("Yes", True), ("false", False), ("0", False), ("NO", False)],
)
def test_flags(places, text, value):
    assert load({"offline": text}, surroundings=places).offline is value
    assert load({"offline": value}, surroundings=places).offline is value


@pytest.mark.parametrize("bad", ["", "on", "2", None, 3.5])
def test_bad_flags(places, bad):
    with pytest.raises(UsageError):
        load({"offline": bad}, surroundings=places)


@pytest.mark.parametrize("given_", ["a, https://h/b ,", ["a", "https://h/b"], ("a", "https://h/b")])
def test_lists(places, given_):
    assert load({"channels": given_}, surroundings=places).channels == ("a", "https://h/b")


@pytest.mark.parametrize("bad", [True, "3.5", "-1", "41", 41, None, [3]])
def test_bad_integers(places, bad):
    with pytest.raises(UsageError):
        load({"layers": bad}, surroundings=places)


def test_tables_come_from_toml_and_from_text(places):
    places.user_file.write_text('[channel_map]\nconda-forge = "https://h/cf"\ndefaults = "https://h/d"\n')
    wanted = {"conda-forge": "https://h/cf", "defaults": "https://h/d"}
    assert load(surroundings=places).channel_map == wanted
    places.user_file.unlink()
    places.environment["DBIMAGE_CHANNEL_MAP"] = "conda-forge=https://h/cf, defaults=https://h/d"
    assert load(surroundings=places).channel_map == wanted


@pytest.mark.parametrize("bad", ["https://h/cf", "a=", "=https://h", "a=b"])
def test_bad_tables(places, bad):
    places.environment["DBIMAGE_CHANNEL_MAP"] = bad
    with pytest.raises(UsageError, match="DBIMAGE_CHANNEL_MAP"):
        load(surroundings=places)


def test_bases_are_locations(places):
    places.user_file.write_text('[bases]\n"15.4-lts" = "//registry.example/golden:15.4"\n')
    assert load(surroundings=places).bases["15.4-lts"].transport == "docker"


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("2024-05-17", datetime(2024, 5, 18, tzinfo=timezone.utc)),
        (date(2024, 5, 17), datetime(2024, 5, 18, tzinfo=timezone.utc)),
        ("2024-05-17T08:00:00Z", datetime(2024, 5, 17, 8, tzinfo=timezone.utc)),
        ("2024-05-17T08:00:00+02:00", datetime(2024, 5, 17, 6, tzinfo=timezone.utc)),
        ("2024-05-17 08:00", datetime(2024, 5, 17, 8, tzinfo=timezone.utc)),
        (datetime(2024, 5, 17, 8), datetime(2024, 5, 17, 8, tzinfo=timezone.utc)),
    ],
)
def test_moments(places, given_, wanted):
    assert load({"exclude_newer": given_}, surroundings=places).exclude_newer == wanted


@pytest.mark.parametrize("bad", ["yesterday", "2024-13-01", "17.05.2024", 20240517])
def test_bad_moments(places, bad):
    with pytest.raises(UsageError, match="exclude_newer"):
        load({"exclude_newer": bad}, surroundings=places)


@pytest.mark.parametrize("bad", ["windows/amd64", "linux", "linux/sparc", "linux/amd64/v2/x", ""])
def test_bad_platforms(places, bad):
    with pytest.raises(UsageError, match="platform"):
        load({"platform": bad}, surroundings=places)


@pytest.mark.parametrize("template", ["{prefix}/{name}", "{prefix}", "{prefix}/a-b/{name}/c"])
def test_repository_templates(places, template):
    assert load({"repository": template}, surroundings=places).repository == template


@pytest.mark.parametrize(
    "bad", ["{prefix}/{other}", "{prefix!r}", "{prefix}/{name.__class__}", "{", "A/{name}", "{0}", "{}"]
)
def test_bad_repository_templates(places, bad):
    with pytest.raises(UsageError, match="repository"):
        load({"repository": bad}, surroundings=places)


def test_paths_of_a_file_start_at_the_file(places):
    places.user_file.write_text("cache_dir = 'caches'\n")
    assert load(surroundings=places).cache_dir == places.user_file.parent / "caches"
    places.environment["DBIMAGE_CACHE_DIR"] = "here"
    assert load(surroundings=places).cache_dir == places.directory / "here"


def test_locations_of_a_file_start_at_the_file(places):
    places.user_file.write_text("target = 'oci:images'\nbase_image = 'rootfs:base.tar'\n")
    settings = load(surroundings=places)
    assert settings.destination.path == places.user_file.parent / "images"
    assert settings.base_image.path == places.user_file.parent / "base.tar"


def test_empty_clears_what_can_be_unset(places):
    places.environment["DBIMAGE_RUNTIME"] = "15.4-lts"
    assert load({"runtime": ""}, surroundings=places).runtime is None
    assert load({"channels": ""}, surroundings=places).channels == ()
    with pytest.raises(UsageError, match="is empty"):
        load({"layers": ""}, surroundings=places)


def test_an_empty_variable_is_not_set(places):
    places.environment["DBIMAGE_LAYERS"] = ""
    assert load(surroundings=places).layers == 12


def test_keys_of_a_local_run(places):
    rows = places.directory / "rows.csv"
    rows.write_text("a\n1\n")
    settings = load({"input": "rows.csv", "output": "out.csv"}, local_run=True, surroundings=places)
    assert (settings.input, settings.output) == (rows, places.directory / "out.csv")


@pytest.mark.parametrize("named", ["dbimage", "dbimage:", "DBIMAGE"])
def test_the_bare_target_is_the_configured_one(places, named, tmp_path):
    places.environment["DBIMAGE_TARGET"] = f"oci:{tmp_path}/images"
    settings = load(target=named, surroundings=places)
    assert settings.destination.path == tmp_path / "images"


def test_a_named_target_wins(places, tmp_path):
    places.environment["DBIMAGE_TARGET"] = f"oci:{tmp_path}/images"
    settings = load(target="dbimage://registry.example/models", surroundings=places)
    assert settings.destination.transport == "docker"
    assert settings.origins["target"] == "-t"


def test_a_bad_target_keeps_its_own_code(places):
    with pytest.raises(UsageError, match=r"`target` \(-t\)") as caught:
        load(target="dbimage:carrier-pigeon:coop", surroundings=places)
    assert caught.value.code == "bad-location"


def test_broken_files(places):
    places.user_file.write_text("layers = = 3")
    with pytest.raises(InputError, match="is not a TOML file") as caught:
        load(surroundings=places)
    assert caught.value.code == "bad-config-file"
    places.user_file.write_bytes(b"tag = '\xff'")
    with pytest.raises(InputError, match="is not a TOML file"):
        load(surroundings=places)


def test_variables_that_miss_a_key_by_a_letter_are_told(places):
    places.environment.update(DBIMAGE_INDX_URL="https://h", DBIMAGE_UNRELATED_THING="x", OTHER="y")
    assert load(surroundings=places).warnings == (
        "the environment variable `DBIMAGE_INDX_URL` is ignored; did you mean `DBIMAGE_INDEX_URL`?",
    )


SECRET = "s3cr3t"  # planted to be looked for


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("index_url", f"https://user:{SECRET}@h/simple"),
        ("index_url", f"https://{SECRET}@h/simple"),
        ("index_url", f"https://user:a@{SECRET}@h/simple"),
        ("extra_index_url", f"https://h/x,https://u:{SECRET}@h/y"),
        ("channels", f"conda-forge,https://h/t/{SECRET}/channel"),
        ("channels", f"https://h/channel?token={SECRET}"),
    ],
)
def test_secrets_are_masked(places, key, value):
    explained = load({key: value}, surroundings=places).explained()
    text = json.dumps(explained)
    assert "https://" in text
    assert SECRET not in text


@pytest.mark.parametrize("value", [f"ftp://u:{SECRET}@h/", f"u:{SECRET}@h/simple", f"https://u:{SECRET}@[h/"])
def test_secrets_of_bad_values_are_masked(places, value):
    with pytest.raises(UsageError) as caught:
        load({"index_url": value}, surroundings=places)
    assert SECRET not in str(caught.value)


def test_digests_are_not_taken_for_secrets():
    text = "docker://registry.example/models/churn@sha256:" + "1" * 64
    assert masked(text) == text


@given(
    password=st.text(st.characters(exclude_characters=",/?#", exclude_categories=("Z", "C")), min_size=6),
)
def test_no_password_survives_masking(password):
    assert password not in masked(f"https://user:{password}@host.example/simple").replace("***", "")


def test_every_key_is_a_field_with_what_people_need():
    assert len({key.name for key in KEYS}) == len(KEYS)
    for key in KEYS:
        assert key.doc
        assert key.doc[0].islower()
        assert not key.doc.endswith(".")
        assert hasattr(Settings(), key.name)
    assert {key.scope for key in KEYS} == set(Scope)


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().layers = 3  # type: ignore[misc]


def test_reading_settings_imports_nothing_heavy():
    import subprocess

    code = "import sys, mlflow_dbimage.settings_sources; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    for heavy in ("mlflow", "rich", "rattler", "docker", "pandas", "urllib3"):
        assert f"'{heavy}'" not in done.stdout
