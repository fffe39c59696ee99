"""Names that are kept where a registry does not list its repositories."""

from __future__ import annotations

import pytest

from fakes.faulty_registry import Fault, error, faulty_registry
from mlflow_dbimage.destinations.noted_names import NotedNames
from mlflow_dbimage.oci.artifact import Artifact
from mlflow_dbimage.oci.registry import Registry, Repository

NAMES = "dev.dbimage.names"


@pytest.mark.parametrize("annotations", [{}, {NAMES: "{"}, {NAMES: "7"}, {NAMES: "[7, []]"}, {NAMES: "[" * 9999}])
def test_a_list_that_is_none_has_no_names_and_is_replaced(annotations: dict[str, str]) -> None:
    with faulty_registry() as server:
        server.faults.append(Fault(method="GET", path="_catalog", times=9, reply=error(404, "UNSUPPORTED", "")))
        noted = NotedNames(Registry(server.host), "team")
        index = Repository(Registry(server.host), "team/dbimage-index")
        index.put_artifact("names", Artifact(artifact_type="x/y", contents=(), annotations=annotations))
        assert noted.names() == ()
        noted.note("churn", present=True)
        assert noted.names() == ("churn",)
