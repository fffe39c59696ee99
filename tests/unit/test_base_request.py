"""What doors ask of a golden base."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dbimage.base_request import BaseRequest
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.settings_sources import Surroundings


def request(tmp_path: Path, **options: object) -> BaseRequest:
    variables = options.pop("variables", {})
    surroundings = Surroundings(environment=variables, directory=tmp_path, user_file=tmp_path / "none.toml")
    return BaseRequest.from_options(**options, surroundings=surroundings)


def test_a_runtime_or_a_file_is_needed_and_not_both(tmp_path: Path) -> None:
    for options in ({}, {"runtime": "15.4-lts", "env_file": tmp_path / "x.yml"}):
        with pytest.raises(UsageError) as caught:
            request(tmp_path, **options)
        assert caught.value.code == "bad-value"
    assert request(tmp_path, given={"runtime": "15.4-lts"}).runtime == "15.4-lts"
    assert request(tmp_path, env_file=tmp_path / "x.yml", given={"runtime": "15.4-lts"}).runtime is None


def test_a_dry_run_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        request(tmp_path, runtime="15.4-lts", given={"dry_run": "true"})
    assert caught.value.code == "not-supported"


def test_the_system_is_named_or_configured(tmp_path: Path) -> None:
    assert request(tmp_path, runtime="15.4-lts").system is None
    assert str(request(tmp_path, runtime="15.4-lts", system="apt:jammy").system) == "apt:jammy"
    configured = {"DBIMAGE_BASE_IMAGE": "apt:noble"}
    assert str(request(tmp_path, runtime="15.4-lts", variables=configured).system) == "apt:noble"
    named = request(tmp_path, runtime="15.4-lts", system="apt:jammy", variables=configured)
    assert str(named.system) == "apt:jammy"


def test_the_name_is_given_or_the_list_s(tmp_path: Path) -> None:
    assert request(tmp_path, runtime="15.4-lts").name_of("15.4-lts") == "15.4-lts"
    assert request(tmp_path, runtime="15.4-lts", name="ours").name_of("15.4-lts") == "ours"
    assert request(tmp_path, runtime="15.4-lts").name_of("Data_Science (new)") == "data-science-new"
    with pytest.raises(UsageError, match="the golden base cannot be named `Ours`"):
        request(tmp_path, runtime="15.4-lts", name="Ours")


@pytest.mark.parametrize(("setting", "bytecode"), [("imported", "all"), ("all", "all"), ("none", "none")])
def test_there_is_no_model_whose_imports_could_be_told(tmp_path: Path, setting: str, bytecode: str) -> None:
    assert request(tmp_path, runtime="15.4-lts", given={"bytecode": setting}).bytecode == bytecode
