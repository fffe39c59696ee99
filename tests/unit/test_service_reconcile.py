"""Comparing a registry with the table: MLflow's own, for real, and Unity Catalog's, by its client's answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import mlflow
import pytest
from sqlalchemy import text

from mlflow_dbimage.backends.mlflow_registry import MlflowRegistry, UnityCatalogLook
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.service.build_logs import BuildLogs
from mlflow_dbimage.service.build_queue import open_queue
from mlflow_dbimage.service.builds import Builds
from mlflow_dbimage.service.database import open_database, sqlite_url
from mlflow_dbimage.service.intake import RECONCILED, Service, take_in
from mlflow_dbimage.service.reconcile import Findings, reconcile
from mlflow_dbimage.service.rules import read

# MLflow warns of what its database library will not do some day.
pytestmark = pytest.mark.filterwarnings("ignore")

RULES = [
    {"name": "champions", "on": "alias-set", "alias": "champion"},
    {"name": "created", "on": "version-created", "model": "new-*"},
    {"name": "deploy", "on": "tag-set", "tag": "deploy", "value": "yes"},
]


@pytest.fixture
def new_service(tmp_path) -> Iterator:
    """A function that makes a service with rules."""
    opened = []

    def make(rules=RULES) -> Service:
        database = open_database(sqlite_url(tmp_path / "builds.db"))
        queue = open_queue(None, tmp_path / "queue.db")
        opened.append(
            Service(
                rules=read(rules),
                database=database,
                builds=Builds(database),
                logs=BuildLogs(database),
                queue=queue,
            )
        )
        return opened[-1]

    yield make
    for service in opened:
        service.close()


@pytest.fixture
def client(tracking_uri) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri, tracking_uri)


def add(client: mlflow.MlflowClient, name: str, *, alias: str | None = None, **tags: str) -> str:
    """Register a version of a model that needs no files."""
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    version = str(client.create_model_version(name, f"/nowhere/{name}", tags=tags).version)
    if alias is not None:
        client.set_registered_model_alias(name, alias, version)
    return version


def look(service: Service, names: tuple[str, ...] = (), since: float | None = 0.0) -> Findings:
    return reconcile(service, MlflowRegistry().look(names), since=since)


def queued(findings: Findings) -> set[tuple[str, str, str]]:
    return {(build.rule, build.model, build.version) for build in findings.queued}


def test_what_no_event_told_is_queued_once(client, new_service):
    add(client, "churn", alias="champion")
    add(client, "churn", alias="other")
    add(client, "new-one")
    add(client, "old-one")
    add(client, "tagged", deploy="yes", dbimage_status="built")
    add(client, "tagged", deploy="no")
    service = new_service()
    found = look(service)
    assert queued(found) == {("champions", "churn", "1"), ("created", "new-one", "1"), ("deploy", "tagged", "1")}
    assert (found.seen, found.requests) == (3, 3)
    again = look(service)
    assert (again.queued, again.seen) == ((), 3)


def test_one_event_that_cannot_be_kept_does_not_stop_the_others(client, new_service):
    for name in ("new-a", "new-bad", "new-z"):
        add(client, name)
    service = new_service()
    refusing = """CREATE TRIGGER refusing BEFORE INSERT ON builds WHEN NEW.model = 'new-bad'
        BEGIN SELECT RAISE(ABORT, 'no such thing'); END"""
    service.database.change(lambda connection: connection.execute(text(refusing)))
    found = look(service)
    assert queued(found) == {("created", "new-a", "1"), ("created", "new-z", "1")}
    expected = "no build for `new-bad version 1 created`: the service's database failed: no such thing"
    assert (found.failures, found.seen) == ((expected,), 3)
    assert look(service).failures == (expected,)


def test_an_alias_that_moved_is_queued_and_what_failed_is_not(client, new_service):
    add(client, "churn", alias="champion")
    service = new_service()
    (first,) = look(service).queued
    service.builds.take(first.id, "w", 60)
    service.builds.fail(first.id, "w", "unsolvable", "no")
    assert look(service).queued == ()
    second = add(client, "churn", alias="champion")
    assert queued(look(service)) == {("champions", "churn", second)}
    client.set_registered_model_alias("churn", "champion", "1")
    assert queued(look(service)) == {("champions", "churn", "1")}


def test_only_versions_since_the_last_look_are_asked_for(client, new_service):
    add(client, "new-old")
    service = new_service()
    created = client.get_model_version("new-old", "1").creation_timestamp / 1000
    service.database.keep_moment(RECONCILED, created + 601, instead_of=None)
    assert look(service, since=None).queued == ()
    assert queued(look(service, since=created - 1)) == {("created", "new-old", "1")}


def test_a_look_asks_no_further_back_than_it_must(client, new_service):
    for number in range(205):
        add(client, f"new-{number}")
    service = new_service([{"name": "created", "on": "version-created", "model": "new-*"}])
    newest = client.get_model_version("new-204", "1").creation_timestamp / 1000
    assert look(service, since=newest).requests == 1
    found = look(service)
    assert found.requests == 2 and len(found.queued) >= 204


def test_only_named_models_are_looked_at(client, new_service):
    for name in ("churn", "fraud"):
        add(client, name, alias="champion", deploy="yes")
    found = look(new_service(), names=("fraud", "missing"))
    assert {build.model for build in found.queued} == {"fraud"}


def test_tags_of_any_value_and_key(client, new_service):
    add(client, "tagged", deploy="to-prod")
    add(client, "tagged", release="it's")
    patterns = [{"name": "p", "on": "tag-set", "tag": "deploy", "value": "to-*"}]
    assert queued(look(new_service(patterns))) == {("p", "tagged", "1")}
    keys = [{"name": "k", "on": "tag-set", "tag": "rel*", "value": "it's"}]
    assert queued(look(new_service(keys))) == {("k", "tagged", "2")}


def test_without_rules_nothing_is_asked(client, new_service):
    assert look(new_service([])).requests == 0


def test_an_event_of_the_same_is_no_second_build(client, new_service):
    add(client, "churn", alias="champion")
    service = new_service()
    from mlflow_dbimage.service.events import Event

    event = Event(kind="alias-set", model="churn", version="1", alias="champion", delivery="d", received=1.0)
    assert take_in(event, service).new
    assert look(service).queued == ()


def test_a_registry_that_is_away_is_told_and_remembered(tmp_path, new_service, monkeypatch):
    service = new_service()
    service.database.keep_moment(RECONCILED, 5.0, instead_of=None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: f"sqlite:///{tmp_path}/none.db")
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(ServiceError) as caught:
        look(service)
    assert caught.value.code == "store-failed"
    assert service.database.moment(RECONCILED) == 5.0


class Page(list):
    """A page of answers."""

    token = None


@dataclass
class UnityCatalog:
    """Answers as MLflow's client of Unity Catalog does: no order, no filter but the name, no tags in listings."""

    versions: dict[str, list[dict[str, str]]]
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    page: int = 2

    def search_registered_models(self, *, max_results, page_token):
        return self._paged([SimpleNamespace(name=name) for name in self.versions], page_token)

    def search_model_versions(self, *, max_results, page_token, filter_string):
        name = filter_string.removeprefix("name='").removesuffix("'")
        listed = [self._version(name, number, {}) for number in range(len(self.versions[name]))]
        return self._paged(listed, page_token)

    def get_model_version(self, name, version):
        return self._version(name, int(version) - 1, self.versions[name][int(version) - 1])

    def get_registered_model(self, name):
        return SimpleNamespace(name=name, aliases=self.aliases.get(name, {}))

    def _version(self, name, number, tags):
        return SimpleNamespace(name=name, version=number + 1, creation_timestamp=1000 * number, tags=tags)

    def _paged(self, items, token):
        start = int(token or 0)
        page = Page(items[start : start + self.page])
        page.token = str(start + self.page) if start + self.page < len(items) else None
        return page


@pytest.fixture
def catalog() -> UnityCatalog:
    versions = {
        "main.risk.churn": [{}, {"deploy": "yes"}, {}],
        "main.risk.fraud": [{}],
        "main.other.x": [{"deploy": "yes"}],
    }
    return UnityCatalog(versions, {"main.risk.churn": {"champion": "3"}, "main.other.x": {"champion": "1"}})


def test_named_models_and_schemas_of_unity_catalog(catalog, new_service):
    found = reconcile(new_service(), UnityCatalogLook(catalog, ("main.risk",)), since=0.0)
    assert queued(found) == {("champions", "main.risk.churn", "3"), ("deploy", "main.risk.churn", "2")}
    # Two pages of models, a request for each one's aliases, three pages of versions, a request for each version.
    assert found.requests == 2 + 2 + 3 + 4


def test_what_a_named_model_of_unity_catalog_costs(catalog, new_service):
    rules = [{"name": "created", "on": "version-created"}]
    found = reconcile(new_service(rules), UnityCatalogLook(catalog, ("main.risk.churn",)), since=1.0)
    assert {build.version for build in found.queued} == {"2", "3"}
    assert found.requests == 2


def test_without_names_unity_catalog_is_not_asked(catalog, new_service):
    assert reconcile(new_service(), UnityCatalogLook(catalog, ()), since=0.0).requests == 0
