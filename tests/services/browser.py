"""Debian's Chromium, driven by its own ChromeDriver through the few calls of W3C WebDriver that the tests need."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.ports import free_port

# What keeps it from looking for servers of its maker, and lets it run as root.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's mark of an element's reference


class Browser:
    """One window.

    Args:
        session: URL of the WebDriver session.
    """

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Load a page, and wait for it."""
        self._post("url", {"url": url})

    @property
    def url(self) -> str:
        """Where it is."""
        return str(_call("GET", f"{self._session}/url"))

    @property
    def focused(self) -> str:
        """What has the focus, as people hear it: its role and name."""
        element = _call("GET", f"{self._session}/element/active")[_ELEMENT]
        role = _call("GET", f"{self._session}/element/{element}/computedrole")
        return f"{role} {_call('GET', f'{self._session}/element/{element}/computedlabel')}".strip()

    def script(self, code: str, *arguments: object) -> Any:
        """Run a script in the page, and return what it returns."""
        return self._post("execute/sync", {"script": code, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """Return the text that people see of the first element."""
        return str(_call("GET", f"{self._session}/element/{self._find(selector)}/text"))

    def until_text(self, selector: str, part: str, seconds: float = 15) -> None:
        """Wait until people see a text in the first element, through pages that come and go."""
        end, seen = time.monotonic() + seconds, ""
        while part not in seen:
            assert time.monotonic() < end, f"not seen after {seconds} s: {part}\n{seen}"
            with contextlib.suppress(RuntimeError):  # the page of the element has just gone
                seen = self.text(selector)

    def click(self, selector: str) -> None:
        """Click the first element."""
        self._post(f"element/{self._find(selector)}/click", {})

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def until(self, code: str, seconds: float = 15) -> Any:
        """Wait until a script returns something, and return that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.script(code)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"not so after {seconds} s: {code}\n{self.script('return document.body.innerText')}")

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Take the size of a screen, and the colours that its user likes."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        liked = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[liked])

    def forget(self) -> None:
        """Forget all cookies, which browsers keep for a host, whatever the port."""
        self._devtools("Network.clearBrowserCookies")

    def without_scripts(self, *, off: bool = True) -> None:
        """Have pages run no script from now on, or let them again."""
        self._devtools("Emulation.setScriptExecutionDisabled", value=off)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(_call("GET", f"{self._session}/screenshot")))

    def problems(self) -> list[str]:
        """Return what the browser complained of since the last time: scripts that failed, policies broken."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _find(self, selector: str) -> str:
        return str(self._post("element", {"using": "css selector", "value": selector})[_ELEMENT])

    def _devtools(self, command: str, **parameters: object) -> None:
        self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        return _call("POST", f"{self._session}/{command}", body)


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """Run a browser as long as the context lasts.

    Args:
        directory: For its profile and its log; made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), directory / "chromedriver.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, "HOME": str(directory)},
            start_new_session=True,
        )
    try:
        driver = f"http://127.0.0.1:{port}"
        _wait(process, driver, log)
        yield _session(driver, directory)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the browser keeps nothing that matters
        process.wait(20)


def _session(driver: str, directory: Path) -> Browser:
    options = {"binary": shutil.which("chromium"), "args": [*_FLAGS, f"--user-data-dir={directory / 'profile'}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    made = _call("POST", f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
    return Browser(f"{driver}/session/{made['sessionId']}")


def _wait(process: subprocess.Popen[bytes], driver: str, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if _is_ready(driver):
            return
        time.sleep(0.05)
    raise RuntimeError(f"chromedriver does not answer; its log ends:\n{log.read_text()[-2000:]}")


def _is_ready(driver: str) -> bool:
    try:
        return bool(_call("GET", f"{driver}/status")["ready"])
    except OSError:
        return False


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"{method} {url}: {error.read().decode()[:2000]}") from None
