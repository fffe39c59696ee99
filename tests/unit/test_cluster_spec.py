"""The cluster of an image: as Databricks' own client reads it, and refused where no cluster would do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from databricks.sdk.service.compute import ClusterSpec as DatabricksCluster
from databricks.sdk.service.compute import DataSecurityMode

from mlflow_dbimage.cluster_spec import ClusterSpec, ClusterWish, describe
from mlflow_dbimage.destinations.deployment import Deployment
from mlflow_dbimage.errors import InputError, UsageError
from mlflow_dbimage.image_location import ImageLocation, parse_target
from mlflow_dbimage.runtimes import Catalogue
from unit.test_build_receipt import RECORD

DIGEST = "sha256:" + "abcdef012345" + "0" * 52
CATALOGUE = Catalogue.load()
ACR = "//acme.azurecr.io/models"
ECR = "//123456789012.dkr.ecr.eu-west-1.amazonaws.com/models"


def deployment(target: str = ACR, **changes: object) -> tuple[Deployment, ImageLocation]:
    location = parse_target(target)
    assert location is not None
    made = Deployment(
        name="churn",
        reference=f"{location.host}/{location.name}/churn@{DIGEST}",
        digest=DIGEST,
        tags=("deployed", "v2", "v2-000000000000", "v3", "v3-abcdef012345"),
        record=RECORD,
        size=1,
    )
    return replace(made, **changes), location


def cluster(target: str = ACR, record: dict[str, object] | None = None, **wish: object) -> ClusterSpec:
    made, location = deployment(target, record=replace(RECORD, **(record or {})))
    return describe(made, location, ClusterWish(**wish), CATALOGUE)


def test_databricks_reads_all_that_is_written() -> None:
    data = cluster(
        single_user="ada@acme.example",
        secret_scope="registry",
        environment={"LOG_LEVEL": "debug", "API_TOKEN": "{{secrets/app/token}}"},
        instance_profile="arn:aws:iam::123456789012:instance-profile/pulls",
    ).to_dict()
    read = DatabricksCluster.from_dict(data)
    assert read.as_dict() == data
    assert read.data_security_mode is DataSecurityMode.SINGLE_USER
    assert read.single_user_name == "ada@acme.example"
    assert (read.spark_version, read.num_workers) == ("15.4.x-scala2.12", 0)
    assert read.docker_image is not None
    assert read.docker_image.url == "acme.azurecr.io/models/churn:v3-abcdef012345"
    assert read.docker_image.basic_auth is not None
    assert read.docker_image.basic_auth.username == "{{secrets/registry/client-id}}"
    assert read.docker_image.basic_auth.password == "{{secrets/registry/client-secret}}"
    assert read.spark_conf is not None
    assert read.spark_conf["spark.databricks.unityCatalog.volumes.enabled"] == "true"
    assert read.spark_env_vars == {
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks",
        "LOG_LEVEL": "debug",
        "API_TOKEN": "{{secrets/app/token}}",
    }
    assert read.aws_attributes is not None


def test_one_node_and_many() -> None:
    one, many = cluster().to_dict(), cluster(workers=3, node_type="Standard_E8ds_v5").to_dict()
    assert one["custom_tags"] == {"ResourceClass": "SingleNode"}
    assert one["spark_conf"]["spark.master"] == "local[*]"
    assert "custom_tags" not in many
    assert list(many["spark_conf"]) == ["spark.databricks.unityCatalog.volumes.enabled"]
    assert (many["num_workers"], many["node_type_id"]) == (3, "Standard_E8ds_v5")
    assert DatabricksCluster.from_dict(many).as_dict() == many


def test_a_pool_decides_on_the_machines() -> None:
    data = cluster(pool="0101-120000-hill-pool").to_dict()
    assert data["instance_pool_id"] == "0101-120000-hill-pool"
    assert "node_type_id" not in data


@pytest.mark.parametrize(
    ("runtime", "wanted", "version"),
    [
        ("15.4-lts", None, "15.4.x-scala2.12"),
        ("15.4-lts-ml", None, "15.4.x-scala2.12"),
        ("17.3-lts-ml-gpu", None, "17.3.x-scala2.13"),
        (None, "16.4-lts", "16.4.x-scala2.12"),
        (None, "16.4.x-cpu-ml-scala2.12", "16.4.x-scala2.12"),
        ("15.4-lts", "15.4.x-photon-scala2.12", "15.4.x-scala2.12"),
        ("15.4-lts", "99.1.x-scala2.13", "99.1.x-scala2.13"),
        ("15.4-lts", "99.1.x-photon-scala2.13", "99.1.x-photon-scala2.13"),
        ("15.4-lts", "99.1.x-gpu-ml-scala2.13", "99.1.x-scala2.13"),
    ],
)
def test_the_version_is_one_that_takes_images(runtime: str | None, wanted: str | None, version: str) -> None:
    assert cluster(record={"runtime": runtime}, spark_version=wanted).spark_version == version


def test_another_version_than_the_base_is_for_is_told() -> None:
    assert any("for `15.4-lts`, not `16.4-lts`" in note for note in cluster(spark_version="16.4-lts").notes)
    assert any("takes no container images" in note for note in cluster(spark_version="15.4-lts-ml").notes)
    assert not any("15.4" in note for note in cluster(spark_version="15.4.x-scala2.12").notes)


def test_a_model_of_unity_catalog_has_its_registry_there() -> None:
    assert cluster(record={"model_name": "main.sales.churn"}).environment["MLFLOW_REGISTRY_URI"] == "databricks-uc"
    own = cluster(environment={"MLFLOW_REGISTRY_URI": "databricks-uc"})
    assert own.environment["MLFLOW_REGISTRY_URI"] == "databricks-uc"


@pytest.mark.parametrize(
    ("target", "url", "node_type"),
    [
        (ACR, "acme.azurecr.io/models/churn:v3-abcdef012345", "Standard_D4ds_v5"),
        (ECR, f"{ECR[2:]}/churn:v3-abcdef012345", "m5d.xlarge"),
        (
            "//europe-west3-docker.pkg.dev/acme/models",
            "europe-west3-docker.pkg.dev/acme/models/churn:v3-abcdef012345",
            "n2-standard-4",
        ),
    ],
)
def test_the_registry_tells_the_cloud(target: str, url: str, node_type: str) -> None:
    found = cluster(target)
    assert (found.image["url"], found.node_type) == (url, node_type)
    assert any(node_type in note for note in found.notes)


def test_docker_hub_is_named_without_its_host_as_databricks_does() -> None:
    assert cluster("docker://acme/models", node_type="m5d.large").image == {
        "url": "acme/models/churn:v3-abcdef012345"
    }


def test_without_its_tag_the_image_is_named_by_digest() -> None:
    made, location = deployment(tags=("deployed", "v3", "v3-000000000000"))
    found = describe(made, location, ClusterWish(), CATALOGUE)
    assert found.image["url"] == f"acme.azurecr.io/models/churn@{DIGEST}"


@pytest.mark.parametrize(
    ("target", "wish", "says"),
    [
        (ECR, {}, "by an instance profile"),
        (ACR, {}, "no secret scope is named"),
        ("//127.0.0.1:5000/models", {"node_type": "x"}, "no cluster reaches `127.0.0.1:5000`"),
        ("//localhost/models", {"node_type": "x"}, "no cluster reaches `localhost`"),
        (ACR, {"single_user": None}, "no single user is named"),
    ],
)
def test_what_is_missing_is_told(target: str, wish: dict[str, object], says: str) -> None:
    assert any(says in note for note in cluster(target, **wish).notes)


def test_where_all_is_said_there_is_nothing_to_note() -> None:
    assert cluster(single_user="ada", node_type="Standard_F4s", secret_scope="acr").notes == ()


def test_all_reasons_why_no_cluster_can_are_told() -> None:
    location = parse_target("oci:/images")
    assert location is not None
    record = replace(RECORD, platform="linux/arm64", runtime=None)
    made, _ = deployment(record=record)
    with pytest.raises(InputError) as caught:
        describe(made, location, ClusterWish(), CATALOGUE)
    assert caught.value.code == "cannot-run-on-cluster"
    for reason in ("`oci:/images`", "linux/arm64", "the runtime of its base image is not known"):
        assert reason in caught.value.message
    assert caught.value.hint is not None
    assert "into a registry" in caught.value.hint
    assert "name the Spark version" in caught.value.hint


def test_an_image_of_others_is_refused() -> None:
    made, location = deployment(record=None)
    with pytest.raises(InputError, match="its image has no record"):
        describe(made, location, ClusterWish(spark_version="15.4-lts"), CATALOGUE)


def test_a_runtime_that_is_gone_from_the_catalogue_can_be_named() -> None:
    with pytest.raises(InputError, match="the catalogue has no runtime `acme-1`"):
        cluster(record={"runtime": "acme-1"})
    assert cluster(record={"runtime": "acme-1"}, spark_version="15.4-lts").spark_version == "15.4.x-scala2.12"


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"spark_version": "fifteen"}, "`fifteen` is no Spark version"),
        ({"secret_scope": "a/b"}, "the scope has other characters"),
        ({"secret_scope": "a", "username_key": "}}"}, "the user's key has other characters"),
        ({"password_key": "x"}, "no scope"),
        ({"instance_profile": "pulls"}, "`pulls` is no ARN"),
        ({"environment": {"a b": "c"}}, "`a b` is no name of a variable"),
    ],
)
def test_values_that_no_api_takes_are_refused(wish: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        cluster(**wish)
    assert caught.value.code == "bad-value"
    assert says in caught.value.message


def test_a_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        cluster(environment={"DB_PASSWORD": "canary-3f1"})
    assert "`DB_PASSWORD` seems to be a secret" in caught.value.message
    assert "{{secrets/SCOPE/KEY}}" in caught.value.message
    assert "canary" not in str(caught.value)


def test_a_node_type_is_asked_for_where_the_cloud_is_unknown() -> None:
    with pytest.raises(UsageError, match="no node type is named") as caught:
        cluster("//registry.acme.example/models")
    assert "`Standard_D4ds_v5` on Azure" in str(caught.value.hint)
