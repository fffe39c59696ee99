"""The webhook's door over real HTTP: what registries, people, programs and strangers get from it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import threading
import time
import urllib.parse
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.web_server import web_server
from webhook_client import RECEIPT, SECRET, TOKEN, Answer, Client, alias, door, log_in, signed, version


@pytest.fixture
def data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def serve(data_home):
    """Return a function that serves the door with some settings, and gives a client without a token."""
    with ExitStack() as stack:

        def served(**variables: str) -> Client:
            app = door(data_home, **variables)
            stack.callback(app.state.desk.service.close)
            return Client(stack.enter_context(web_server(app)), app.state.desk.service)

        yield served


@pytest.fixture
def client(serve) -> Client:
    return serve(DBIMAGE_SERVICE_TOKEN=TOKEN, DBIMAGE_WEBHOOK_SECRETS=SECRET)


@pytest.fixture(scope="module")
def open_door(tmp_path_factory):
    """Serve one door to all tests that need no table of their own."""
    folder = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        app = door(folder, DBIMAGE_WEBHOOK_SECRETS=SECRET, DBIMAGE_SERVICE_TOKEN=TOKEN)
        with web_server(app) as url:
            yield Client(url, app.state.desk.service)
        app.state.desk.service.close()


class TestDeliveries:
    """What registries send."""

    def test_an_event_of_a_rule_is_queued(self, client):
        answer = client.deliver(version())
        assert (answer.status, answer.json["outcome"], answer.json["rule"]) == (202, "queued", "every-version")
        (build,) = client.service.builds.find()
        assert (build.id, build.model, build.version, build.status) == (
            answer.json["build"],
            "churn",
            "3",
            "queued",
        )
        assert client.service.queue.receive() == build.id

    def test_what_was_delivered_before_is_a_duplicate(self, client):
        first, again = client.deliver(version()), client.deliver(version())
        assert (again.status, again.json["outcome"], again.json["build"]) == (
            200,
            "duplicate",
            first.json["build"],
        )
        other = client.deliver(version(), delivery="d-2")
        assert (other.status, other.json["outcome"]) == (200, "duplicate")
        assert len(client.service.builds.find()) == 1

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (version("forecast"), "no rule matches"),
            (alias(name="challenger"), "no rule matches"),
            (version("example_model", "1"), "test deliveries"),
            ({"entity": "prompt", "action": "created", "data": {"name": "p"}}, "asks for no build"),
            ({"entity": "registered_model", "action": "created", "data": {"name": "m"}}, "asks for no build"),
        ],
    )
    def test_what_needs_no_build_is_fine_too(self, client, event, reason):
        answer = client.deliver(event)
        assert (answer.status, answer.json["outcome"]) == (200, "ignored")
        assert reason in answer.json["reason"]
        assert client.service.builds.find() == ()

    def test_databricks_is_taken_at_its_own_address(self, client):
        event = {"event": "MODEL_VERSION_CREATED", "event_timestamp": 1, "model_name": "churn", "version": "7"}
        body = json.dumps(event).encode()
        mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        answer = client.send("POST", "/webhooks/databricks", body, X_Databricks_Signature=mac)
        assert (answer.status, answer.json["outcome"]) == (202, "queued")
        again = client.send("POST", "/webhooks/databricks", body, X_Databricks_Signature=mac)
        assert (again.status, again.json["outcome"]) == (200, "duplicate")
        assert client.send("POST", "/webhooks/databricks", body).status == 401
        assert client.send("POST", "/webhooks/mlflow", body, X_Databricks_Signature=mac).status == 400

    @pytest.mark.parametrize(
        ("change", "status", "reason"),
        [
            ({"secret": "guess"}, 401, "its signature is wrong"),
            ({"at": time.time() - 400}, 401, "more than five minutes"),
            ({"delivery": "a b"}, 400, "delivery ID"),
        ],
    )
    def test_refusals(self, open_door, change, status, reason):
        before = open_door.service.builds.find()
        answer = open_door.deliver(version(), **change)
        assert (answer.status, answer.json["outcome"]) == (status, "refused")
        assert reason in answer.json["reason"]
        assert open_door.service.builds.find() == before

    def test_strangers_do_not_fill_the_log(self, client, caplog):
        for number in range(20):
            client.deliver(version(), secret="guess", delivery=f"d-{number}")
        client.deliver(version(), at=time.time() - 400)
        assert [record.message for record in caplog.records] == [
            "a delivery of mlflow is not taken: its signature is wrong",
            "a delivery of mlflow is not taken: its timestamp is more than five minutes away",
        ]

    def test_unsigned_is_refused_unless_told_otherwise(self, serve):
        body = json.dumps(version()).encode()
        unsigned = {name: text for name, text in signed(body).items() if name != "X-MLflow-Signature"}
        strict = serve(DBIMAGE_SERVICE_TOKEN=TOKEN)
        assert strict.send("POST", "/webhooks/mlflow", body, **unsigned).status == 401
        assert strict.deliver(version()).status == 401  # without a secret of ours no signature is right
        trusting = serve(DBIMAGE_WEBHOOK_UNSIGNED="true")
        assert trusting.send("POST", "/webhooks/mlflow", body, **unsigned).status == 202

    def test_the_old_secret_is_taken_beside_the_new_one(self, serve, tmp_path):
        (tmp_path / "secrets").write_text(f"{SECRET}\nthe one before\n")
        client = serve(DBIMAGE_WEBHOOK_SECRETS="file:secrets")
        assert client.deliver(version(), secret="the one before").status == 202
        assert client.deliver(alias(), delivery="d-2").status == 202

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{",
            b"\xff\xfe",
            b'{"entity": 1}',
            b"[" * 100_000,
            b'{"entity":"model_version","action":"created"}',
        ],
    )
    def test_what_is_signed_and_malformed_is_refused(self, open_door, body):
        answer = open_door.deliver(body)
        assert (answer.status, answer.json["outcome"]) == (400, "refused")

    def test_a_model_of_a_hostile_name_is_refused(self, client):
        for name in ("../../etc", "models:/x", "a\nb", "x" * 300, ""):
            assert client.deliver(version(name)).status == 400

    def test_too_large_is_refused_before_it_is_read(self, client):
        """The answer comes after the header alone: the body is announced and never sent."""
        parts = urllib.parse.urlsplit(client.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        connection.putrequest("POST", "/webhooks/mlflow")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()

    def test_too_large_in_pieces_is_refused_where_it_becomes_too_large(self, client):
        parts = urllib.parse.urlsplit(client.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        pieces = (bytes(1 << 16) for _ in range(1000))
        try:
            connection.request(
                "POST",
                "/webhooks/mlflow",
                body=pieces,
                encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"},
            )
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has said its word and hung up
        else:
            assert connection.getresponse().status == 413
        connection.close()

    def test_a_body_that_does_not_come_is_not_waited_for(self):
        from fastapi import FastAPI

        from plugin_entrypoints.webhook.guards import BodyLimit

        app = FastAPI()
        app.add_middleware(BodyLimit, slowest=0.2)
        with web_server(app) as url:
            parts = urllib.parse.urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
            connection.putrequest("POST", "/webhooks/mlflow")
            connection.putheader("Content-Length", "10")
            connection.endheaders(b"half")
            assert connection.getresponse().status == 408
            connection.close()

    def test_where_the_database_fails_the_registry_shall_try_again(self, client, tmp_path, monkeypatch):
        from mlflow_dbimage.errors import ServiceError

        def broken(*_):
            raise ServiceError("database-failed", "no route to db.internal")

        monkeypatch.setattr(type(client.service.builds), "request", broken)
        answer = client.deliver(version())
        assert (answer.status, answer.json["outcome"]) == (503, "failed")
        assert "db.internal" not in answer.text

    def test_many_at_once_are_one_build(self, client):
        answers: list[Answer] = []

        def deliver(number: int) -> None:
            answers.append(client.deliver(version(), delivery=f"d-{number}"))

        threads = [threading.Thread(target=deliver, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status for answer in answers) == [200] * 15 + [202]
        assert len(client.service.builds.find()) == 1


class TestApi:
    """The JSON API."""

    @pytest.fixture
    def known(self, client) -> Client:
        for number in range(1, 6):
            client.deliver(version(f"churn{number % 2}", str(number)), delivery=f"v{number}")
        return client.with_token()

    def test_list_filters_and_pages(self, known):
        first = known.get("/api/builds?limit=2").json
        assert [each["version"] for each in first["builds"]] == ["5", "4"]
        rest = known.get(f"/api/builds?limit=200&before={first['before']}").json
        assert [each["version"] for each in rest["builds"]] == ["3", "2", "1"]
        assert rest["before"] is None
        assert {each["model"] for each in known.get("/api/builds?model=churn1").json["builds"]} == {"churn1"}
        assert known.get("/api/builds?status=built&status=failed").json["builds"] == []
        assert len(known.get("/api/builds?status=superseded&status=queued").json["builds"]) == 5

    def test_one_build_its_log_plan_and_receipt(self, known):
        number = known.get("/api/builds?model=churn1").json["builds"][-1]["id"]
        builds, logs = known.service.builds, known.service.logs
        assert builds.take(number, "w", 60) is not None
        logs.append(number, "one\n")
        part = known.get(f"/api/builds/{number}/log").json
        assert (part["text"], part["grows"]) == ("one\n", True)
        logs.append(number, "two\n")
        assert known.get(f"/api/builds/{number}/log?after={part['after']}").json["text"] == "two\n"
        assert known.get(f"/api/builds/{number}/receipt").json is None
        builds.finish(number, "w", RECEIPT)
        assert known.get(f"/api/builds/{number}/receipt").json == RECEIPT
        plan = known.get(f"/api/builds/{number}/plan").json
        assert plan["request"]["model_uri"] == "models:/churn1/1"
        assert plan["record"] == RECEIPT["record"]
        shown = known.get(f"/api/builds/{number}").json
        assert (shown["status"], shown["digest"], shown["sent_bytes"]) == ("built", RECEIPT["digest"], 12345678)
        end = known.get(f"/api/builds/{number}/log").json["after"]
        assert known.get(f"/api/builds/{number}/log?after={end}").json["grows"] is False

    def test_credentials_in_what_is_asked_for_are_masked(self, serve):
        keys = {
            "index_url": "https://reader:canary-1@index.example/simple",
            "channels": ["https://h/t/canary-2/c"],
        }
        rules = [{"name": "all", "on": "version-created", "config": keys}]
        known = serve(
            DBIMAGE_WEBHOOK_SECRETS=SECRET, DBIMAGE_SERVICE_TOKEN=TOKEN, DBIMAGE_RULES=json.dumps(rules)
        ).with_token()
        number = known.deliver(version()).json["build"]
        assert known.service.builds.get(number).request["config"] == keys
        paths = ["/", f"/builds/{number}", f"/builds/{number}/log", "/api/builds", f"/api/builds/{number}"]
        paths += [f"/api/builds/{number}/{part}" for part in ("log", "plan", "receipt")]
        texts = {path: known.get(path).text for path in paths}
        assert [path for path, text in texts.items() if "canary" in text] == []
        assert json.loads(texts[f"/api/builds/{number}/plan"])["request"]["config"] == {
            "index_url": "https://***@index.example/simple",
            "channels": ["https://h/t/***/c"],
        }

    def test_cancel_and_rerun(self, known):
        number = known.get("/api/builds?limit=1").json["builds"][0]["id"]
        assert known.send("POST", f"/api/builds/{number}/cancel").json["status"] == "cancelled"
        again = known.send("POST", f"/api/builds/{number}/rerun").json
        assert again["new"]
        assert again["build"]["cause"] == f"rerun of build {number}"
        assert not known.send("POST", f"/api/builds/{number}/rerun").json["new"]

    @pytest.mark.parametrize("path", ["/api/builds/99999", "/api/builds/99999/log", "/api/builds/99999/plan"])
    def test_what_is_not_there(self, open_door, path):
        answer = open_door.with_token().get(path)
        assert (answer.status, answer.json["error"]["code"]) == (404, "build-not-found")

    @pytest.mark.parametrize(
        "path",
        [
            "/api/builds/0",
            "/api/builds/99999999999999999999",
            "/api/builds/x",
            "/api/builds?limit=0",
            "/api/builds?status=nope",
            "/api/builds?model=a%00b",
            "/api/builds?before=99999999999",
            f"/api/builds?model={'x' * 300}",
        ],
    )
    def test_what_makes_no_sense(self, open_door, path):
        assert open_door.with_token().get(path).status == 422

    def test_openapi_describes_it(self, client):
        described = client.get("/api/openapi.json").json
        assert {"/api/builds", "/api/builds/{build_id}/log", "/webhooks/mlflow", "/metrics"} <= set(
            described["paths"]
        )
        assert client.get("/docs").status == 404


class TestAccess:
    """Who may see and change what."""

    PROTECTED = ("/api/builds", "/api/builds/1", "/api/builds/1/log", "/metrics")
    PAGES = ("/", "/builds/1", "/builds/1?x=y")

    def test_without_a_token_there_is_nothing_to_see(self, client):
        client.deliver(version())
        for path in self.PROTECTED:
            answer = client.get(path)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert b"churn" not in answer.body
        for path in self.PAGES:
            answer = client.get(path)
            assert (answer.status, answer.body) == (303, b"")
        assert client.get("/fragments/builds").status == 401
        assert client.send("POST", "/api/builds/1/cancel").status == 401
        assert client.service.builds.get(1).status == "queued"

    @pytest.mark.parametrize(
        "given", ["Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer \xe9"]
    )
    def test_a_wrong_token_is_no_token(self, open_door, given):
        assert open_door.get("/api/builds", Authorization=given).status == 401

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/assets/page.css", "/assets/page.js", "/login"])
    def test_what_anybody_may_see(self, open_door, path):
        assert open_door.get(path).status == 200

    def test_login_sets_a_cookie_that_scripts_cannot_read(self, client):
        session = log_in(client)
        attributes = {part.strip().lower() for part in session.split(";")}
        assert {"httponly", "samesite=lax", "path=/"} <= attributes
        assert "secure" not in attributes
        assert client.get("/", Cookie=session.partition(";")[0]).status == 200
        behind_tls = client.form("/login", {"token": TOKEN}, X_Forwarded_Proto="https")
        assert "secure" in behind_tls.headers["set-cookie"].lower()

    def test_a_wrong_token_begins_no_session(self, client):
        answer = client.form("/login", {"token": "wrong"})
        assert (answer.status, "set-cookie" in answer.headers) == (401, False)
        assert "not the token" in answer.text

    @pytest.mark.parametrize("change", ["9999999999", "tampered", "expired"])
    def test_a_session_cannot_be_made_up(self, open_door, change):
        name, _, value = log_in(open_door).partition(";")[0].partition("=")
        until, nonce, signature = value.split(".")
        values = {
            "9999999999": f"9999999999.{nonce}.{signature}",
            "tampered": f"{until}.{nonce}.{'0' * 64}",
            "expired": f"1.{nonce}.{signature}",
        }
        assert open_door.get("/", Cookie=f"{name}={values[change]}").status == 303

    def test_a_session_ends_with_its_time(self):
        from starlette.requests import Request

        from plugin_entrypoints.webhook.access import COOKIE, SESSION_SECONDS, Access

        now = [1000.0]
        access = Access(token=TOKEN, clock=lambda: now[0])
        cookie = f"{COOKIE}={access.session()}".encode()
        request = Request({"type": "http", "headers": [(b"cookie", cookie)], "client": ("192.0.2.1", 1)})
        assert access.caller(request).by == "session"
        now[0] += SESSION_SECONDS + 1
        assert access.caller(request) is None

    @pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/builds/1/../..", "/\\evil", ""])
    def test_a_login_leads_to_our_own_pages_alone(self, open_door, then):
        answer = open_door.form("/login", {"token": TOKEN, "next": then})
        assert answer.headers["location"] == "/"
        assert open_door.form("/login", {"token": TOKEN, "next": "/builds/7"}).headers["location"] == "/builds/7"

    def test_a_form_of_somebody_else_changes_nothing(self, client):
        client.deliver(version())
        cookie = log_in(client).partition(";")[0]
        mark = re.search(r'name="mark" value="([0-9a-f]{64})"', client.get("/builds/1", Cookie=cookie).text)[1]
        other = log_in(client).partition(";")[0]
        for fields, headers in (
            ({}, {}),
            ({"mark": "0" * 64}, {}),
            ({"mark": mark}, {"Origin": "https://evil.example"}),
            ({"mark": mark}, {"Origin": "null"}),
            ({"mark": mark}, {"Sec_Fetch_Site": "cross-site"}),
            ({"mark": mark}, {"Cookie": other}),
        ):
            assert client.form("/builds/1/cancel", fields, **{"Cookie": cookie, **headers}).status == 403
        assert client.service.builds.get(1).status == "queued"
        answer = client.form("/builds/1/cancel", {"mark": mark}, Cookie=cookie, Origin=client.url)
        assert (answer.status, answer.headers["location"]) == (303, "/builds/1")
        assert client.service.builds.get(1).status == "cancelled"

    def test_the_api_takes_no_change_from_another_site_by_cookie(self, client):
        client.deliver(version())
        cookie = log_in(client).partition(";")[0]
        assert (
            client.send("POST", "/api/builds/1/cancel", Cookie=cookie, Origin="https://evil.example").status == 403
        )
        assert client.send("POST", "/api/builds/1/cancel", Cookie=cookie, Origin=client.url).status == 200

    def test_a_proxy_is_believed_where_it_stands_and_nowhere_else(self, serve):
        given = {"DBIMAGE_SERVICE_PROXY_HEADER": "X-Forwarded-User"}
        near = serve(DBIMAGE_SERVICE_PROXIES="127.0.0.0/8", **given)
        assert near.get("/api/builds").status == 401
        assert near.get("/api/builds", X_Forwarded_User="ada").status == 200
        assert "ada" in near.get("/", X_Forwarded_User="ada").text
        assert near.get("/").status == 403
        far = serve(DBIMAGE_SERVICE_PROXIES="192.0.2.0/24", **given)
        assert far.get("/api/builds", X_Forwarded_User="ada").status == 401

    def test_without_any_authentication_only_this_machine_is_let_in(self, serve):
        client = serve()
        assert client.get("/").status == 200
        assert client.get("/api/builds").status == 200
        for headers in (
            {"Host": "rebound.example"},
            {"Host": "["},
            {"X_Forwarded_For": "192.0.2.1"},
            {"Via": "1.1 proxy"},
        ):
            assert client.get("/api/builds", **headers).status in (400, 401)


class TestPages:
    """What people see."""

    def test_names_are_escaped(self, client):
        hostile = "churn<script>alert(1)\"'&<b>"
        client.deliver(version(hostile))
        known = client.with_token()
        for path in ("/", "/builds/1", "/fragments/builds", f"/?model={urllib.parse.quote(hostile)}"):
            text = known.get(path).text
            assert "<script>alert" not in text
            assert "churn&lt;script&gt;" in text

    def test_the_log_is_text(self, client):
        client.deliver(version())
        client.service.logs.append(1, "<img src=x onerror=alert(1)>\n")
        known = client.with_token()
        assert "<img" not in known.get("/builds/1").text
        log = known.get("/builds/1/log")
        assert log.headers["content-type"].startswith("text/plain")
        assert (log.headers["x-log-grows"], log.headers["x-content-type-options"]) == ("true", "nosniff")

    def test_a_built_one_shows_image_plan_and_receipt(self, client):
        client.deliver(version())
        client.service.builds.take(1, "w", 60)
        client.service.builds.finish(1, "w", RECEIPT)
        text = client.with_token().get("/builds/1").text
        for part in (RECEIPT["reference"], "12.3 MB", "15.4-lts", "3.11.9", "The receipt as JSON"):
            assert part in text

    def test_pages_bind_browsers(self, client):
        answer = client.with_token().get("/")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.findall(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", answer.text)

    @pytest.mark.parametrize("path", ["/builds/99999", "/builds/0", "/builds/x", "/nothing"])
    def test_what_is_not_there_is_told_as_a_page(self, open_door, path):
        answer = open_door.with_token().get(path, Accept="text/html")
        assert answer.status == 404
        assert "<h1>Not found</h1>" in answer.text

    @pytest.mark.parametrize("query", ["status=nope", "before=x", "before=99999999999", "model=%00", "model=%ff"])
    def test_a_filter_that_makes_no_sense_is_ignored(self, open_door, query):
        assert open_door.with_token().get(f"/?{query}").status == 200

    def test_pages_are_paged(self, client):
        for number in range(55):
            client.deliver(version(f"churn-{number}"), delivery=f"d{number}")
        known = client.with_token()
        text = known.get("/").text
        assert text.count('data-label="Build"') == 50
        older = re.search(r'href="([^"]+)" rel="next"', text)[1].replace("&amp;", "&")
        assert known.get(older).text.count('data-label="Build"') == 5


class TestHealth:
    """What machines ask."""

    def test_metrics(self, client):
        client.deliver(version())
        client.deliver(version())
        client.deliver(version(), secret="guess")
        client.service.builds.take(1, "w", 60)
        client.service.builds.finish(1, "w", RECEIPT)
        lines = client.with_token().get("/metrics").text.splitlines()
        assert 'dbimage_builds{status="built"} 1.0' in lines
        assert "dbimage_pushed_bytes_total 1.2345678e+07" in lines
        assert 'dbimage_build_seconds_count{status="built"} 1.0' in lines
        assert 'dbimage_deliveries_total{outcome="duplicate",source="mlflow"} 1.0' in lines
        assert 'dbimage_deliveries_total{outcome="wrong_signature",source="mlflow"} 1.0' in lines

    def test_not_ready_without_a_database(self, client, monkeypatch):
        from mlflow_dbimage.errors import ServiceError

        def broken(_):
            raise ServiceError("database-failed", "no route to db.internal")

        assert client.get("/readyz").json == {"database": "ok", "queue": "ok"}
        monkeypatch.setattr(type(client.service.database), "check", broken)
        answer = client.get("/readyz")
        assert (answer.status, answer.json) == (503, {"database": "failed", "queue": "ok"})
        assert client.get("/healthz").status == 200


SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30)
JSON = st.deferred(
    lambda: SCALAR | st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=10), JSON, max_size=3)
)
ALMOST = st.fixed_dictionaries(
    {
        "entity": st.sampled_from(["model_version", "model_version_alias", "model_version_tag", "prompt", ""]),
        "action": st.sampled_from(["created", "set", "deleted"]),
        "data": JSON
        | st.fixed_dictionaries(
            {"name": st.text(max_size=20), "version": JSON, "alias": JSON, "key": JSON, "value": JSON}
        ),
    }
)


PLACES = st.sampled_from(
    [
        "/",
        "/login",
        "/builds",
        "/api/builds",
        "/webhooks/mlflow",
        "/webhooks/databricks",
        "/fragments/builds",
        "/metrics",
    ]
)
ENDS = st.sampled_from(
    ["", "/", "/1", "/1/log", "/1/rerun", "/1/cancel", "/0", "/-1", "/99999999999999999999", "/%00", "/..%2f"]
)
QUERIES = st.dictionaries(
    st.sampled_from(["status", "model", "rule", "name", "before", "after", "limit", "next"]), st.text(max_size=20)
)


@settings(deadline=None, max_examples=300)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]),
    place=PLACES,
    end=ENDS,
    query=QUERIES,
    body=st.none() | st.binary(max_size=50),
    known=st.booleans(),
)
def test_wherever_it_is_sent_nothing_breaks(open_door, method, place, end, query, body, known):
    client = open_door.with_token() if known else open_door
    path = urllib.parse.quote(place + end, safe="/%") + "?" + urllib.parse.urlencode(query)
    answer = client.send(method, path, body)
    assert answer.status < 500
    if not known and not place.startswith(("/login", "/webhooks")):
        assert answer.status >= 300


@settings(deadline=None, max_examples=150)
@given(event=JSON | ALMOST, correct=st.booleans())
def test_whatever_is_sent_nothing_breaks(open_door, event, correct):
    answer = open_door.deliver(json.dumps(event).encode(), secret=SECRET if correct else "guess")
    assert answer.status in ((200, 202, 400) if correct else (401,))
