"""The store, on MLflow's own registry: a SQLite database read directly, and a server."""

from __future__ import annotations

import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlflow_dbimage.backends.mlflow_store import MlflowStore
from mlflow_dbimage.errors import DbimageError, InputError, ServiceError, UsageError
from mlflow_dbimage.model_reference import ModelOrigin, parse, pin
from plain_model import write_model
from services.http_server import running
from services.mlflow_server import mlflow_server


@dataclass(frozen=True)
class Registry:
    uri: str
    model: Path
    run_id: str

    @contextmanager
    def client(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow

            yield mlflow.MlflowClient()


@contextmanager
def configured(uri: str) -> Iterator[None]:
    """Set MLflow up as its users do, by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        yield


def fill(uri: str, folder: Path) -> Registry:
    """Register three versions of `churn` that are artifacts of a run, with an alias and a stage."""
    model = write_model(folder / "logged" / "model", code__rules_DOT_py="RULES = 1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        client = mlflow.MlflowClient()
        artifacts = {} if uri.startswith("http") else {"artifact_location": (folder / "store").as_uri()}
        run = client.create_run(client.create_experiment("churn", **artifacts))
        client.log_artifacts(run.info.run_id, str(model), "model")
        client.create_registered_model("churn")
        for _ in range(3):
            source = f"{run.info.artifact_uri}/model"
            client.create_model_version("churn", source, run_id=run.info.run_id)
        client.set_registered_model_alias("churn", "champion", "2")
        client.transition_model_version_stage("churn", "1", "Staging")
    return Registry(uri, model, run.info.run_id)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("database")
    with configured(f"sqlite:///{folder}/mlflow.db"):
        yield fill(f"sqlite:///{folder}/mlflow.db", folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("served")
    with mlflow_server(folder / "server") as server, configured(server.uri):
        yield fill(server.uri, folder)


@pytest.fixture(params=["database", "served"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    filled = request.getfixturevalue(request.param)
    with configured(filled.uri):
        yield filled


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("models:/churn/1", "1"),
        ("models:/churn/3", "3"),
        ("models:/churn@champion", "2"),
        ("models:/churn/latest", "3"),
        ("models:/churn/Staging", "1"),
        ("models:/churn/staging", "1"),
    ],
)
def test_every_form_is_pinned_to_one_version(registry: Registry, uri: str, version: str) -> None:
    pinned = pin(parse(uri), MlflowStore())
    assert pinned.version == version
    assert pinned.pinned_uri == f"models:/churn/{version}"
    assert pinned.uri == uri
    assert pinned.run_id == registry.run_id
    assert pin(pinned, MlflowStore()) == pinned


@pytest.mark.parametrize(
    ("uri", "message", "hint"),
    [
        ("models:/churm/1", "no registered model `churm`", "`churn`"),
        ("models:/churn/9", "`churn` has no version 9", "versions 3, 2, 1"),
        ("models:/churn@gone", "no version with the alias `gone`", "aliases `champion`"),
        ("models:/churn/Production", "no version in the stage `Production`", "versions 3, 2, 1"),
        ("models:/churn", "no logged model with the ID `churn`", "models:/churn/latest"),
        ("models:/m-0123", "no logged model with the ID `m-0123`", "models:/NAME/VERSION"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "does not find", "check the model URI"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(registry: Registry, uri: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        pin(parse(uri), MlflowStore())
    assert caught.value.code == "model-not-found"
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_version_is_downloaded_into_our_directory_and_nothing_else_changes(
    registry: Registry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = registry.model.parent.parent
    before = {path: data for path, data in contents(store).items() if not path.endswith((".db", ".log"))}
    MlflowStore().download(pin(parse("models:/churn/2"), MlflowStore()), tmp_path / "work" / "model")
    found = contents(tmp_path / "work" / "model")
    found.pop("registered_model_meta", None)  # what MLflow adds to a download; no file of the model
    assert found == contents(registry.model)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["model"]
    after = {path: data for path, data in contents(store).items() if not path.endswith((".db", ".log"))}
    assert after == before
    assert "Downloading" not in capfd.readouterr().err


def test_a_run_is_downloaded(registry: Registry, tmp_path: Path) -> None:
    pinned = pin(parse(f"runs:/{registry.run_id}/model"), MlflowStore())
    MlflowStore().download(pinned, tmp_path / "model")
    assert contents(tmp_path / "model") == contents(registry.model)


def test_a_path_that_a_run_does_not_have_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    pinned = pin(parse(f"runs:/{registry.run_id}/other"), MlflowStore())
    with pytest.raises(InputError) as caught:
        MlflowStore().download(pinned, tmp_path / "model")
    assert caught.value.code == "model-not-found"
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_run_is_no_model(registry: Registry, tmp_path: Path) -> None:
    pinned = pin(parse(f"runs:/{registry.run_id}/model/conda.yaml"), MlflowStore())
    with pytest.raises(InputError, match="is a file"):
        MlflowStore().download(pinned, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_tagged_with_its_image(registry: Registry) -> None:
    pinned = pin(parse("models:/churn@champion"), MlflowStore())
    assert MlflowStore().note_image(pinned, "h.io/churn:v2", "sha256:12", proven=False)
    with registry.client() as client:
        tags = client.get_model_version("churn", "2").tags
    assert tags == {
        "dbimage_image": "h.io/churn:v2",
        "dbimage_digest": "sha256:12",
        "dbimage_status": "deployed",
    }


def test_a_tag_that_cannot_be_written_is_no_failure(registry: Registry, tmp_path: Path) -> None:
    assert not MlflowStore().note_image(parse("models:/churn/9"), "h.io/churn:v9", "sha256:12", proven=True)
    assert not MlflowStore().note_image(parse(str(tmp_path)), "h.io/churn:local", "sha256:12", proven=True)


def test_the_origin_of_a_version_is_its_run_and_commit(registry: Registry) -> None:
    pinned = pin(parse("models:/churn/1"), MlflowStore())
    assert MlflowStore().origin(pinned) == ModelOrigin(run_id=registry.run_id)
    with registry.client() as client:
        client.set_tag(registry.run_id, "mlflow.source.git.commit", "a" * 40)
        client.set_tag(registry.run_id, "mlflow.source.git.repoURL", "https://ann:canary@git.example/churn.git")
    found = MlflowStore().origin(pinned)
    assert (found.commit, found.repository) == ("a" * 40, "https://git.example/churn.git")
    with registry.client() as client:
        client.set_tag(registry.run_id, "mlflow.source.git.commit", "main; rm -rf")
    assert MlflowStore().origin(pinned).commit is None


def test_an_origin_that_is_not_known_is_no_failure(registry: Registry, tmp_path: Path) -> None:
    assert MlflowStore().origin(parse(str(tmp_path))) == ModelOrigin()
    gone = replace(parse("models:/churn/1"), run_id="0" * 32)
    assert MlflowStore().origin(gone) == ModelOrigin(run_id="0" * 32)


def test_a_logged_model_of_mlflow_3_is_found_and_downloaded(registry: Registry, tmp_path: Path) -> None:
    with registry.client() as client:
        if not hasattr(client, "create_logged_model"):  # MLflow 2
            with pytest.raises(InputError, match="no logged model"):
                pin(parse("models:/m-0123"), MlflowStore())
            return
        experiment = client.get_experiment_by_name("churn").experiment_id
        made = client.create_logged_model(experiment, name="tree", source_run_id=registry.run_id)
        client.log_model_artifacts(made.model_id, str(registry.model))
        client.finalize_logged_model(made.model_id, "READY")
    pinned = pin(parse(f"models:/{made.model_id}"), MlflowStore())
    assert (pinned.name, pinned.version, pinned.run_id) == ("tree", None, registry.run_id)
    MlflowStore().download(pinned, tmp_path / "model")
    assert contents(tmp_path / "model").items() >= contents(registry.model).items()


def test_a_local_directory_is_copied_without_asking_mlflow(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "alias.pkl").symlink_to("python_model.pkl")
    for uri in (str(model), model.as_uri()):
        target = tmp_path / f"copy-{len(uri)}"
        MlflowStore().download(pin(parse(uri), MlflowStore()), target)
        assert contents(target) == contents(model)
        assert (target / "alias.pkl").is_symlink()


def test_a_link_out_of_a_local_store_is_not_followed(database: Registry, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    model = write_model(tmp_path / "model")
    (model / "stolen").symlink_to(tmp_path / "secret")
    with configured(database.uri):
        with database.client() as client:
            client.create_registered_model("planted")
            client.create_model_version("planted", str(model))
        pinned = pin(parse("models:/planted/1"), MlflowStore())
        with pytest.raises(InputError) as caught:
            MlflowStore().download(pinned, tmp_path / "out" / "model")
    assert caught.value.code == "model-unsafe"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_directory_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist") as caught:
        pin(parse(str(tmp_path / "gone")), MlflowStore())
    assert caught.value.code == "model-not-found"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        pin(parse(str(tmp_path / "file")), MlflowStore())


def test_an_unknown_scheme_is_told(database: Registry, tmp_path: Path) -> None:
    with configured(database.uri), pytest.raises(UsageError) as caught:
        MlflowStore().download(parse("pigeon://coop/model"), tmp_path / "model")
    assert caught.value.code == "bad-model-uri"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["sqlite:///{}/gone.db", "{}/gone", "file://{}/gone"])
def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path, form: str) -> None:
    with configured(form.format(tmp_path)), pytest.raises(ServiceError) as caught:
        pin(parse("models:/churn/1"), MlflowStore())
    assert caught.value.code == "store-failed"
    assert "which does not exist" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_broken_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but a text that is long enough to look at" * 20)
    with configured(f"sqlite:///{tmp_path}/mlflow.db"), pytest.raises(ServiceError) as caught:
        pin(parse("models:/churn/1"), MlflowStore())
    assert caught.value.code == "store-failed"


class TellsPasswords(BaseHTTPRequestHandler):
    """A server that refuses, and says by whom and with what it was asked."""

    def do_GET(self) -> None:
        body = b"refused: http://ann:hunter2-canary@host/ with the token token-canary"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def telling_port() -> Iterator[int]:
    with running(HTTPServer(("127.0.0.1", 0), TellsPasswords)) as port:
        yield port


def test_a_password_reaches_no_text(telling_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-canary")
    with configured(f"http://ann:hunter2-canary@127.0.0.1:{telling_port}"):
        with pytest.raises(ServiceError) as caught:
            pin(parse("models:/churn/1"), MlflowStore())
        assert "canary" not in MlflowStore().describe()
    assert caught.value.code == "store-failed"
    assert "refused" in caught.value.message
    whole = "".join(traceback.format_exception(caught.value))
    assert "canary" not in whole


def test_a_server_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on port 9. With MLflow's own retries this would take minutes.
    with configured("http://ann:hunter2-canary@127.0.0.1:9"), pytest.raises(ServiceError) as caught:
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
        pin(parse("models:/churn/1"), MlflowStore())
    assert caught.value.code == "store-failed"
    assert "`127.0.0.1:9`, which does not answer" in caught.value.message
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_store_is_described(database: Registry) -> None:
    with configured(database.uri):
        text = MlflowStore().describe()
    assert text.startswith("MLflow ")
    assert database.uri in text


def test_importing_the_store_does_not_import_mlflow() -> None:
    program = "import sys, mlflow_dbimage.backends.mlflow_store; print('mlflow' in sys.modules)"
    assert said_by_python(program) == "False"


def test_a_database_without_its_extra_is_told(database: Registry) -> None:
    program = """
import sys
sys.modules["sqlalchemy"] = None
from mlflow_dbimage.backends.mlflow_store import MlflowStore
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.model_reference import parse, pin
from mlflow_dbimage.model_reference import ModelOrigin
try:
    pin(parse("models:/churn/1"), MlflowStore())
except ServiceError as error:
    print(error.code, error.hint)
"""
    with configured(database.uri):
        said = said_by_python(program)
    assert said.startswith("store-failed ")
    assert "mlflow-dbimage[sql]" in said


def said_by_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_our_own_errors_pass_the_boundary() -> None:
    from mlflow_dbimage.backends.mlflow_errors import store_errors

    ours = InputError("model-unsafe", "a message")
    with pytest.raises(DbimageError) as caught, store_errors("models:/churn/1"):
        raise ours
    assert caught.value is ours


def test_a_full_disk_is_told_as_such() -> None:
    from mlflow_dbimage.backends.mlflow_errors import store_errors

    with pytest.raises(ServiceError) as caught, store_errors("models:/churn/1"):
        raise RuntimeError("failures while downloading: ##### File model.pkl #####\n[Errno 28] No space left")
    assert caught.value.code == "disk-failed"
