"""The forms: nothing is lost when Databricks' own client reads them, and the job does what the launcher takes."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
import yaml
from databricks.sdk.service.compute import ClustersAPI, DockerImage, InstancePoolsAPI, Policy
from databricks.sdk.service.compute import ClusterSpec as DatabricksCluster
from databricks.sdk.service.jobs import JobSettings

from mlflow_dbimage.errors import UsageError
from mlflow_dbimage.job_spec import ARGUMENTS, ScoreWish, write
from mlflow_dbimage.launcher.distribution import launcher_entries
from unit.test_cluster_spec import ECR, cluster

SCORE = ScoreWish(
    input="/Volumes/main/sales/in.parquet", output="/Volumes/main/sales/out.parquet", arguments={"keep": "id"}
)


def without_empty(data: Any) -> Any:
    """Leave out empty lists, which the client does not write."""
    if isinstance(data, dict):
        return {key: without_empty(value) for key, value in data.items() if value != []}
    return [without_empty(each) for each in data] if isinstance(data, list) else data


@pytest.mark.parametrize(
    "wish", [{}, {"workers": 2, "single_user": "ada", "secret_scope": "acr"}, {"pool": "p-1"}]
)
def test_databricks_reads_the_whole_job(wish: dict[str, object]) -> None:
    job = json.loads(write("job", cluster(**wish), SCORE).text)
    assert JobSettings.from_dict(job).as_dict() == without_empty(job)


def test_the_task_is_the_launchers_and_installs_nothing() -> None:
    job = json.loads(write("job", cluster(), SCORE).text)
    (task,) = job["tasks"]
    assert task["libraries"] == []
    wheel = task["python_wheel_task"]
    (points,) = [each for each in launcher_entries("") if each.path.endswith("entry_points.txt")]
    assert points.content is not None
    assert f"{wheel['entry_point']} = {wheel['package_name']}:" in points.content().read().decode()
    assert "parameters" not in wheel
    assert wheel["named_parameters"] == {
        "input": "{{job.parameters.input}}",
        "output": "{{job.parameters.output}}",
        "keep": "id",
    }
    assert job["parameters"] == [
        {"name": "input", "default": SCORE.input},
        {"name": "output", "default": SCORE.output},
    ]
    assert task["job_cluster_key"] == job["job_clusters"][0]["job_cluster_key"]


def test_what_each_run_has_to_name_is_noted() -> None:
    spec = cluster()
    assert write("job", spec, SCORE).notes == spec.notes
    assert "names no output:" in write("bundle", spec, ScoreWish(input="x")).notes[-1]
    assert "names no input and no output:" in write("job", spec, ScoreWish()).notes[-1]
    assert write("policy", spec, ScoreWish()).notes == spec.notes


def test_arguments_are_those_of_the_scoring_program() -> None:
    from plugin_entrypoints.batch import _parser

    options = {option.lstrip("-") for action in _parser()._actions for option in action.option_strings}
    assert set(ARGUMENTS) <= options
    with pytest.raises(UsageError, match="no option `chunks`") as caught:
        write("job", cluster(), ScoreWish(arguments={"chunks": "5"}))
    assert "`chunk-rows`" in str(caught.value.hint)


def test_a_cluster_for_people_is_one_that_the_api_makes() -> None:
    data = json.loads(write("cluster", cluster(single_user="ada"), ScoreWish()).text)
    assert set(data) <= set(inspect.signature(ClustersAPI.create).parameters)
    assert DatabricksCluster.from_dict(data).as_dict() == data
    assert data["autotermination_minutes"] == 30


def test_a_bundle_holds_the_job_for_whoever_deploys_it() -> None:
    document = write("bundle", cluster(secret_scope="acr"), SCORE)
    data = yaml.safe_load(document.text)
    assert data == document.data
    (key,), (resource,) = zip(*data["resources"]["jobs"].items(), strict=True)
    assert re.fullmatch(r"\w+", key)
    assert JobSettings.from_dict(resource).as_dict() == without_empty(resource)
    user = resource["job_clusters"][0]["new_cluster"]["single_user_name"]
    assert user == "${workspace.current_user.userName}"
    own = write("bundle", cluster(single_user="ada"), SCORE).data["resources"]["jobs"][key]
    assert own["job_clusters"][0]["new_cluster"]["single_user_name"] == "ada"


def test_texts_stay_texts_in_yaml() -> None:
    text = write("bundle", cluster(environment={"A": "true", "B": "1.10", "C": "no", "D": "08"}), SCORE).text
    job = yaml.safe_load(text)["resources"]["jobs"]["score_churn"]
    variables = job["job_clusters"][0]["new_cluster"]["spark_env_vars"]
    assert {name: variables[name] for name in "ABCD"} == {"A": "true", "B": "1.10", "C": "no", "D": "08"}


def value_at(data: dict[str, Any], path: str) -> Any:
    """Find what a rule of a policy speaks of: names of Spark's settings have dots of their own."""
    for key, value in data.items():
        if path == key:
            return value
        if path.startswith(f"{key}.") and isinstance(value, dict):
            return value_at(value, path[len(key) + 1 :])
    raise KeyError(path)


def test_a_policy_has_a_rule_for_all_of_the_cluster() -> None:
    spec = cluster(
        ECR, workers=2, secret_scope="ecr", instance_profile="arn:aws:iam::123456789012:instance-profile/p"
    )
    rules = json.loads(write("policy", spec, SCORE).text)
    assert Policy.from_dict({"definition": json.dumps(rules)}).as_dict() == {"definition": json.dumps(rules)}
    data = spec.to_dict()
    for path, rule in rules.items():
        assert value_at(data, path) == rule.get("value", rule.get("defaultValue"))
    assert rules["docker_image.url"] == {"type": "fixed", "value": spec.image["url"]}
    assert rules["docker_image.basic_auth.password"]["hidden"] is True
    assert rules["spark_conf.spark.databricks.unityCatalog.volumes.enabled"]["type"] == "fixed"
    assert rules["num_workers"] == {"type": "unlimited", "defaultValue": 2}
    leaves = sum(len(each) if isinstance(each, dict) else 1 for each in data.values())
    assert len(rules) == leaves + 1  # the two of `basic_auth`, which is one


def test_a_policy_of_one_node_stays_so() -> None:
    rules = write("policy", cluster(), SCORE).data
    assert rules["num_workers"] == {"type": "fixed", "value": 0}
    assert rules["node_type_id"]["type"] == "unlimited"


def test_a_pool_has_the_image_ready() -> None:
    spec = cluster(secret_scope="acr")
    data = json.loads(write("pool", spec, SCORE).text)
    assert set(data) <= set(inspect.signature(InstancePoolsAPI.create).parameters)
    (image,) = data["preloaded_docker_images"]
    assert DockerImage.from_dict(image).as_dict() == image == spec.to_dict()["docker_image"]
    assert data["preloaded_spark_versions"] == ["15.4.x-scala2.12"]
    with pytest.raises(UsageError, match="a pool is asked for"):
        write("pool", cluster(pool="p-1"), SCORE)
