"""From event to queued build: durable before anybody is told, with or without a queue."""

from __future__ import annotations

import contextlib

import pytest

from mlflow_dbimage.errors import ServiceError, UsageError
from mlflow_dbimage.service.events import Event
from mlflow_dbimage.service.intake import RECONCILED, open_service, take_in
from mlflow_dbimage.settings_sources import Surroundings, load

RULES = '[{"name": "r", "on": "alias-set", "alias": "champion", "priority": 3}]'


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Return a function that loads settings from variables; the service's data lie in a folder of the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def of(**variables: str):
        environment = {"DBIMAGE_RULES": RULES, **variables}
        return load(
            surroundings=Surroundings(
                environment=environment, directory=tmp_path, user_file=tmp_path / "none.toml"
            )
        )

    return of


def alias_set(alias: str, delivery: str | None = None) -> Event:
    return Event(kind="alias-set", model="m", version="1", alias=alias, delivery=delivery, received=1.0)


def test_an_event_is_queued_once(settings, tmp_path):
    with contextlib.closing(open_service(settings())) as service:
        taken = take_in(alias_set("champion", "d"), service)
        assert taken.new and taken.build is not None and taken.build.priority == 3
        again = take_in(alias_set("champion", "d"), service)
        assert (again.build, again.new) == (taken.build, False)
        assert [service.queue.receive(), service.queue.receive()] == [taken.build.id, None]
    with contextlib.closing(open_service(settings())) as service:  # it is on the disk
        assert service.builds.get(taken.build.id) == taken.build
    assert (tmp_path / "data" / "dbimage" / "builds.db").is_file()


def test_an_event_of_no_rule_builds_nothing(settings):
    with contextlib.closing(open_service(settings())) as service:
        taken = take_in(alias_set("challenger"), service)
        assert (taken.build, taken.new) == (None, False)
        assert service.builds.find() == () and service.queue.is_empty()


def test_a_build_is_durable_where_the_queue_is_away(settings):
    with contextlib.closing(open_service(settings(DBIMAGE_SERVICE_QUEUE="redis://127.0.0.1:1/0"))) as service:
        taken = take_in(alias_set("champion"), service)
        assert taken.new
        assert [build.id for build in service.builds.due()] == [taken.build.id]


def test_the_registry_counts_from_the_first_start(settings):
    with contextlib.closing(open_service(settings())) as service:
        first = service.database.moment(RECONCILED)
    with contextlib.closing(open_service(settings())) as service:
        assert service.database.moment(RECONCILED) == first is not None


def test_wrong_rules_stop_the_service_before_anything_is_made(settings, tmp_path):
    with pytest.raises(UsageError, match="`on` cannot be `x`"):
        open_service(settings(DBIMAGE_RULES='[{"name": "r", "on": "x"}]'))
    assert not (tmp_path / "data").exists()


def test_a_database_that_is_away(settings):
    url = "postgresql://svc:hunter2@127.0.0.1:1/builds"
    with pytest.raises(ServiceError) as caught:
        open_service(settings(DBIMAGE_SERVICE_DATABASE=url))
    assert caught.value.code == "database-failed" and "hunter2" not in str(caught.value)
