"""Makes the pictures of the documentation: `python tests/page_screenshots.py`, with Chromium at hand."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CLONE), str(CLONE / "tests")]

from services.browser import Browser, browser  # noqa: E402
from services.web_server import web_server  # noqa: E402
from webhook_client import RECEIPT, SECRET, TOKEN, Client, alias, door, version  # noqa: E402

WORKER = "builder-1-4242-a1b2c3"
PICTURES = CLONE / "docs" / "images"
LOG = """\
downloading models:/churn-uplift/8: 14 files, 3.1 MB (0.4 s)
choosing the base image (0.0 s)
fetching //registry.example/golden/dbr:15.4: from the cache (0.1 s)
solving conda packages: 38 packages (0.3 s)
resolving pip packages: 61 wheels (1.2 s)
"""


def main() -> None:
    """Make every picture of the documentation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_DATA_HOME"] = str(folder / "data")
        app = door(folder, DBIMAGE_WEBHOOK_SECRETS=SECRET, DBIMAGE_SERVICE_TOKEN=TOKEN)
        with web_server(app) as url, browser(folder / "browser") as window:
            window.open(url)
            window.type(*TOKEN, "\ue007")
            window.until("return location.pathname === '/'")
            take_pictures(window, Client(url, app.state.desk.service), PICTURES)


def take_pictures(window: Browser, client: Client, folder: Path) -> None:
    """Have builds of every kind in an empty service, and make every picture of them.

    Args:
        window: Of somebody who has logged in.
        client: Of the service.
        folder: For the pictures; made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    build = f"{client.url}/builds/{_fill(client)}"
    for name, dark in (("light", False), ("dark", True)):
        _take(window, folder / f"builds-{name}.png", client.url, dark=dark)
        _take(window, folder / f"build-{name}.png", build, height=760, dark=dark)
    _take(window, folder / "builds-phone.png", client.url, width=390, height=780)


def _fill(client: Client) -> int:
    """Have builds of every kind, and return the one that runs."""
    builds = client.service.builds

    def wanted(event: dict[str, object], number: int) -> int:
        return int(client.deliver(event, delivery=f"d-{number}").json["build"])

    for number in (6, 7):
        built = wanted(version("churn", str(number)), number)
        builds.take(built, WORKER, 60)
        builds.finish(built, WORKER, {**RECEIPT, "sent_size": 3_214_000 * (8 - number)})
    failed = wanted(alias("forecast", "12"), 12)
    builds.take(failed, WORKER, 60)
    builds.fail(failed, WORKER, "unsolvable", "no set of packages satisfies the requirements")
    running = wanted(version("churn-uplift", "8"), 8)
    builds.take(running, WORKER, 60)
    builds.report_stage(running, WORKER, "installing 99 packages: 43 %")
    client.service.logs.append(running, LOG)
    wanted(alias("pricing", "3"), 3)
    return running


def _take(
    window: Browser, picture: Path, url: str, *, width: int = 1180, height: int = 640, dark: bool = False
) -> None:
    window.look(width=width, height=height, dark=dark)
    window.open(url)
    window.screenshot(picture)


if __name__ == "__main__":
    main()
