"""OSV's service as pip-audit asks it, against a server that answers as OSV's does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlflow_dbimage.backends.advisory_service import asked
from mlflow_dbimage.errors import ServiceError
from mlflow_dbimage.evidence.advisories import Severity
from mlflow_dbimage.evidence.bill_of_materials import Package, pip_purl, system_purl
from services.http_server import running

ANSWER = {
    "vulns": [
        {
            "id": "PYSEC-1",
            "aliases": ["CVE-1"],
            "summary": "bad",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "toy"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
                }
            ],
        }
    ]
}


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict]]]:
    queries: list[dict] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            queries.append(query)
            broken = query["package"]["name"] == "broken"
            data = json.dumps(ANSWER if query["package"]["name"] == "toy" else {}).encode()
            self.send_response(500 if broken else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    with running(HTTPServer(("127.0.0.1", 0), Service)) as port:
        yield f"http://127.0.0.1:{port}/v1/query", queries


def pip(name: str, version: str = "1.0") -> Package:
    return Package(manager="pip", name=name, version=version, purl=pip_purl(name, version))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pip-audit leaves its session to the garbage collector
def test_python_packages_are_asked_about(service: tuple[str, list[dict]], tmp_path: Path) -> None:
    url, queries = service
    purl = system_purl("bash", "5", distribution="debian", release="12", architecture="amd64")
    packages = [
        pip("toy"),
        pip("sound"),
        pip("odd", "0.2.5.db1"),
        Package(manager="system", name="bash", version="5", purl=purl),
    ]
    (found,) = asked(packages, tmp_path, url)
    assert (found.advisory, found.aliases, found.severity) == ("PYSEC-1", ("CVE-1",), Severity.UNKNOWN)
    assert (found.package.name, found.fixed_in) == ("toy", ("1.1",))
    assert [each["package"]["name"] for each in queries] == ["toy", "sound"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_service_that_fails_is_told_of(service: tuple[str, list[dict]], tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="does not answer for broken 1.0") as caught:
        asked([pip("broken")], tmp_path, service[0])
    assert caught.value.code == "advisories-failed"
