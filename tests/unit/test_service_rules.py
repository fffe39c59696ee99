"""Rules: the first that matches wins, all that is wrong is told, and our own tags build nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dbimage.build_request import check_name
from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.service.events import KINDS, Event
from mlflow_dbimage.service.rules import choose, explain, read
from mlflow_dbimage.settings_sources import Surroundings, load


@pytest.fixture
def places(tmp_path):
    """Surroundings in which nothing is set."""
    return Surroundings(environment={}, directory=tmp_path, user_file=tmp_path / "none.toml")


def alias_set(model: str = "churn", version: str = "3", alias: str = "champion") -> Event:
    return Event(kind="alias-set", model=model, version=version, alias=alias, received=0.0)


def tag_set(key: str, value: str = "") -> Event:
    return Event(kind="tag-set", model="churn", version="3", key=key, value=value, received=0.0)


def test_the_first_rule_that_matches_wins_and_the_others_say_why_not(places):
    rules = read(
        [
            {"name": "new", "on": "version-created"},
            {"name": "other", "on": "alias-set", "model": "fraud*"},
            {"name": "churn", "on": "alias-set", "model": "churn*", "alias": "champ*"},
            {"name": "rest", "on": "alias-set"},
        ],
        places,
    )
    explanation = explain(alias_set(), rules)
    assert explanation.rule is rules[2] is choose(alias_set(), rules)
    assert explanation.reasons == (
        ("new", "it is for `version-created`"),
        ("other", "its model is `fraud*`, and the event's is `churn`"),
        ("churn", "it matches"),
        ("rest", "`churn` comes first"),
    )


def test_patterns_heed_case(places):
    (rule,) = read([{"name": "r", "on": "alias-set", "alias": "Champion"}], places)
    assert rule.why_not(alias_set()) == "its alias is `Champion`, and the event's is `champion`"


def test_tags_match_by_key_and_value(places):
    (rule,) = read([{"name": "r", "on": "tag-set", "tag": "deploy", "value": "y*"}], places)
    assert rule.why_not(tag_set("deploy", "yes")) is None
    assert rule.why_not(tag_set("deploy", "no")) == "its value is `y*`, and the event's is `no`"
    assert rule.why_not(tag_set("deployed", "yes")) == "its tag is `deploy`, and the event's is `deployed`"


@pytest.mark.parametrize("key", ["dbimage_status", "dbimage_", "dbimage_anything"])
def test_our_own_tags_build_nothing(places, key):
    rules = read([{"name": "r", "on": "tag-set"}, {"name": "s", "on": "tag-set", "tag": "dbimage_*"}], places)
    assert choose(tag_set(key), rules) is None
    assert "a tag of our own" in explain(tag_set(key), rules).reasons[0][1]


def test_what_a_rule_orders(places, tmp_path):
    (rule,) = read(
        [
            {
                "name": "champions",
                "on": "alias-set",
                "deployment": "{model}.{alias}",
                "target": "//registry.example/models",
                "runtime": "15.4-lts",
                "priority": 7,
                "config": {"layers": 3},
            }
        ],
        places,
    )
    order = rule.order(alias_set("Churn Model", "3", "champion"))
    assert (order.rule, order.name, order.priority) == ("champions", "churn-model.champion", 7)
    assert order.request == {
        "model_uri": "models:/Churn Model/3",
        "target": "//registry.example/models",
        "config": {"layers": 3, "runtime": "15.4-lts"},
    }


@pytest.mark.parametrize(
    ("on", "name"), [("alias-set", "churn-champion"), ("version-created", "churn"), ("tag-set", "churn")]
)
def test_names_of_deployments_by_default(places, on, name):
    (rule,) = read([{"name": "r", "on": on}], places)
    assert rule.order(Event(kind=on, model="churn", version="3", alias="champion", received=0.0)).name == name


def test_a_model_of_unity_catalog_keeps_its_dots(places):
    (rule,) = read([{"name": "r", "on": "version-created"}], places)
    event = Event(kind="version-created", model="main.risk.Churn", version="1", received=0.0)
    assert rule.order(event).name == "main.risk.churn"


def test_all_problems_of_all_rules_are_told(places):
    with pytest.raises(UsageError) as caught:
        read(
            [
                {"name": "a", "on": "alias-set", "modle": "x", "priority": True},
                {"on": "stage"},
                {"name": "b", "on": "stage"},
                {"name": "c", "on": "version-created", "alias": "x", "deployment": "{alias}"},
                {"name": "d", "on": "alias-set", "deployment": "{model!r}{"},
                {"name": "e", "on": "alias-set", "config": {"dry_run": "true", "lairs": 2}, "target": "ftp:x"},
                {"name": "e", "on": "alias-set", "runtime": "15.4-lts", "config": {"runtime": "14.3-lts"}},
            ],
            places,
        )
    assert caught.value.code == "bad-value"
    for expected in (
        "rule `a`: `modle` is no known key; did you mean `model`?",
        "rule `a`: `priority` is not a whole number from -1000 to 1000",
        "rule 2: it has no `name`",
        "rule `b`: `on` cannot be `stage`: it takes `version-created`, `alias-set`, `tag-set`",
        "rule `c`: `alias` is not of `version-created`",
        "rule `c`: in `deployment` only `{model}`, `{version}` are replaced",
        "rule `d`: `deployment` is no template",
        "rule `e`: `dry_run` cannot be in `config`",
        "did you mean `layers`?",
        "`target` (-t)",
        "rule `e`: another rule has that name",
        "rule `e`: it has two `runtime`",
    ):
        assert expected in caught.value.message


@pytest.mark.parametrize("template", ["{model.__class__}", "{model[0]}", "{0}", "{}", "{model:>9}", "{tag}"])
def test_templates_replace_names_alone(places, template):
    with pytest.raises(UsageError, match="`deployment`"):
        read([{"name": "r", "on": "alias-set", "deployment": template}], places)


def test_rules_come_from_the_file_and_their_targets_start_at_its_folder(places, tmp_path):
    folder = tmp_path / "project" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "project" / "dbimage.toml").write_text(
        "[[rules]]\nname = 'r'\non = 'alias-set'\ntarget = 'oci:images'\n[rules.config]\nlayers = 2\n"
    )
    settings = load(surroundings=Surroundings(environment={}, directory=folder, user_file=places.user_file))
    (rule,) = read(settings.rules, places)
    assert rule.target == f"oci:{tmp_path}/project/images"
    assert rule.config == {"layers": 2}


@pytest.mark.parametrize("text", ["x", "{}", "[1]", '[{"name": 1}, 2]'])
def test_rules_that_are_no_tables(tmp_path, text):
    environment = {"DBIMAGE_RULES": text}
    with pytest.raises(UsageError, match="a list of tables"):
        load(surroundings=Surroundings(environment=environment, directory=tmp_path, user_file=tmp_path / "x"))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/:", exclude_categories=["C"]), min_size=1)


@given(model=NAMES, alias=NAMES, version=st.integers(1, 10**9))
def test_any_event_gets_a_name_that_destinations_hold(model, alias, version):
    (rule,) = read([{"name": "r", "on": "alias-set", "deployment": "{model}-{alias}"}])
    name = rule.order(alias_set(model, str(version), alias)).name
    try:
        check_name(name, load({}, target="//registry.example/models"))
    except UsageError as error:
        assert len(name) > 80 or name == "", error


PATTERN = st.sampled_from(["*", "churn", "c*", "[a-c]hurn", "?hurn", "x"])
RULE = st.sampled_from(KINDS).flatmap(
    lambda kind: st.fixed_dictionaries(
        {"on": st.just(kind), "model": PATTERN}, optional={"alias": PATTERN} if kind == "alias-set" else {}
    )
)


@given(st.lists(RULE, max_size=6), st.sampled_from(KINDS), st.sampled_from(["churn", "ahurn", "x"]))
def test_explaining_and_choosing_agree(tables, kind, model):
    rules = read([{**table, "name": f"r{number}"} for number, table in enumerate(tables)])
    event = Event(kind=kind, model=model, version="1", alias="churn", key="k", value="v", received=0.0)
    chosen, explanation = choose(event, rules), explain(event, rules)
    assert explanation.rule is chosen
    assert [name for name, _ in explanation.reasons] == [rule.name for rule in rules]
    matching = [rule.name for rule in rules if rule.why_not(event) is None]
    assert (chosen.name if chosen else None) == (matching[0] if matching else None)
