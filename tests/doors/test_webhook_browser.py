"""The page in a real browser: what it shows, how it moves, and its use without eyes, mouse or script."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from page_screenshots import PICTURES, take_pictures
from services.browser import browser
from services.web_server import web_server
from webhook_client import RECEIPT, SECRET, TOKEN, Client, alias, door, version

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TAB, ENTER = "\ue004", "\ue007"
WORKER = "node-1"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Serve a door, and give a client without a token."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    app = door(tmp_path, DBIMAGE_SERVICE_TOKEN=TOKEN, DBIMAGE_WEBHOOK_SECRETS=SECRET)
    with web_server(app) as url:
        yield Client(url, app.state.desk.service)
    app.state.desk.service.close()


@pytest.fixture
def page(window, client):
    """Log in as a person does, and give the window on the list of builds."""
    window.forget()
    window.look()
    window.open(client.url)
    assert window.url.endswith("/login?next=/")
    window.until("return document.activeElement.name === 'token'")  # once the page has given it the focus
    window.type(*TOKEN, ENTER)
    window.until("return location.pathname === '/'")
    window.problems()
    return window


def start(client, model="churn", number="3", kind=version) -> int:
    build = client.deliver(kind(model, number), delivery=f"{kind.__name__}-{number}").json["build"]
    assert client.service.builds.take(build, WORKER, 60)
    return build


def test_builds_appear_and_move_by_themselves(page, client):
    assert "no builds yet" in page.text("main")
    build = start(client)
    client.service.builds.report_stage(build, WORKER, "installing 61 packages")
    page.until("return document.querySelector('.stage')?.textContent === 'installing 61 packages'")
    assert page.text("[role=status]") == "1 running"
    client.service.builds.finish(build, WORKER, RECEIPT)
    page.until("return document.querySelector('.status.built') !== null")
    assert "12.3 MB" in page.text("tbody tr")
    assert page.problems() == []


def test_a_log_grows_and_the_end_brings_the_receipt(page, client):
    build = start(client)
    client.service.logs.append(build, "first line\n")
    page.open(f"{client.url}/builds/{build}")
    client.service.logs.append(build, "<b>second</b> line\n")
    page.until("return document.querySelector('.log').textContent.endsWith('<b>second</b> line\\n')")
    client.service.builds.finish(build, WORKER, RECEIPT)
    page.until("return document.querySelector('#receipt-title') !== null")
    page.click("summary")
    assert json.loads(page.text("details pre")) == RECEIPT
    assert page.problems() == []


def test_hostile_names_run_nothing(page, client):
    client.deliver(version("churn<img src=x onerror=document.title='pwned'>"))
    page.open(f"{client.url}/builds/1")
    assert "<img src=x" in page.text("h1")
    page.until("return document.querySelector('dl').textContent.includes('created')")
    assert page.script("return document.title").startswith("Build 1, churn<img")
    assert page.script("return document.images.length") == 0


def test_a_build_is_cancelled_by_keyboard_alone(page, client):
    build = start(client)
    page.open(f"{client.url}/builds/{build}")
    heard = []
    while page.focused != "button Cancel":
        page.type(TAB)
        heard.append(page.focused)
        assert len(heard) < 20, heard
    assert heard[0] == "link Skip to content"
    assert "button Log out" in heard
    page.type(ENTER)
    page.until("return document.querySelector('dl').textContent.includes('being cancelled')")
    assert client.service.builds.get(build).cancelling
    assert page.problems() == []


def test_the_focus_stays_where_a_list_is_shown_anew(page, client):
    start(client)
    page.open(client.url)
    page.script("document.querySelector('#build-1').focus()")
    start(client, "forecast", "7", alias)
    page.until("return document.querySelector('#build-2') !== null")
    assert page.focused == "link Build 1: churn version 3"


def test_without_scripts_the_page_says_the_same(page, client):
    build = start(client)
    client.service.logs.append(build, "a line\n")
    page.without_scripts()
    try:
        page.open(f"{client.url}/builds/{build}")
        assert page.text(".log") == "a line"
        page.click("button.danger")
        page.until_text("dl", "being cancelled")
        assert client.service.builds.get(build).cancelling
    finally:
        page.without_scripts(off=False)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_it_fits_and_can_be_read(page, client, width, dark):
    """Nothing is wider than the screen (WCAG 1.4.10), and every text has its contrast (1.4.3)."""
    start(client, "churn-of-customers-in-europe.by-region", "12")
    failed = start(client, "forecast", "7", alias)
    client.service.builds.fail(failed, WORKER, "unsolvable", "numpy==1.0 needs Python below 3.5")
    page.look(width=width, height=900, dark=dark)
    for path in ("/", f"/builds/{failed}"):
        page.open(client.url + path)
        assert page.script("return document.documentElement.scrollWidth") <= width
        poor = page.script((Path(__file__).parent / "contrast.js").read_text())
        assert poor == []


def test_the_pictures_of_the_documentation_can_be_made_anew(page, client, tmp_path):
    """They have the names and the sizes of those that are kept; their bytes are the browser's and the clock's."""
    take_pictures(page, client, tmp_path / "pictures")
    assert page.problems() == []
    made, kept = (
        {path.name: size_in_pixels(path) for path in folder.glob("*.png")}
        for folder in (tmp_path / "pictures", PICTURES)
    )
    assert made == kept
    assert all(10_000 < path.stat().st_size < 150_000 for path in (tmp_path / "pictures").iterdir())


def size_in_pixels(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height
