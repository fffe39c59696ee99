"""The door answers as its OpenAPI says, whatever is sent: what that allows, and what it does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from webhook_client import SECRET, TOKEN, door, signed

pytestmark = pytest.mark.slow

EXAMPLES = settings(
    max_examples=30,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        app = door(folder, DBIMAGE_WEBHOOK_SECRETS=SECRET, DBIMAGE_SERVICE_TOKEN=TOKEN)
        yield app
        app.state.desk.service.close()


@pytest.fixture
def operations(app) -> Iterator[list[schemathesis.APIOperation]]:
    """Give all that may be asked; nothing of it may have queued anything."""
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    schema.config.generation.update(with_security_parameters=False)  # each test gives its own token, or none
    yield [each.ok() for each in schema.get_all_operations()]
    service = app.state.desk.service
    assert service.builds.find() == ()
    assert service.queue.is_empty()


def statuses(operation: schemathesis.APIOperation, mode: GenerationMode, headers) -> Counter[int]:
    """Call an operation many times, hold the answers against what it says, and count them.

    Args:
        operation: To call.
        mode: Whether as it says, or otherwise.
        headers: Gives further headers of a call.
    """
    found: Counter[int] = Counter()

    @EXAMPLES
    @given(operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case) -> None:
        answer = case.call(headers=headers(case))
        found[answer.status_code] += 1
        case.validate_response(answer)

    try:
        call()
    except Unsatisfiable:  # nothing can be wrong where nothing is asked for
        assert mode is GenerationMode.NEGATIVE
    return found


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_as_the_openapi_says(operations, mode):
    found = {
        each.label: statuses(each, mode, lambda _: {"Authorization": f"Bearer {TOKEN}"}) for each in operations
    }
    assert max(max(each, default=200) for each in found.values()) < 500
    if mode is GenerationMode.NEGATIVE:
        assert found["GET /api/builds"][422] > 10
        assert set(found["POST /webhooks/mlflow"]) <= {400, 401, 422}
    else:
        assert set(found["GET /api/builds"]) == {200}
        assert set(found["POST /api/builds/{build_id}/rerun"]) == {404}
        assert set(found["POST /webhooks/mlflow"]) == {401}


def test_programs_are_told_to_bear_a_token(app):
    described = app.openapi()
    (scheme,) = described["components"]["securitySchemes"].values()
    assert scheme["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        asks = path.startswith(("/api/", "/metrics"))
        assert ["security" in each for each in methods.values()] == [asks] * len(methods), path


def test_without_a_token_nothing_is_told(operations):
    found = Counter()
    for each in operations:
        if each.path.startswith(("/api/", "/metrics")):
            found += statuses(each, GenerationMode.POSITIVE, lambda _: {})
    assert set(found) == {401}


def test_what_is_signed_and_tells_nothing_that_we_know_is_no_build(operations):
    def sign(case: schemathesis.Case) -> dict[str, str]:
        return signed(json.dumps(case.body).encode())

    (mlflow,) = (each for each in operations if each.path == "/webhooks/mlflow")
    assert set(statuses(mlflow, GenerationMode.POSITIVE, sign)) == {200}
