"""A browser for tests: Debian's chromium, driven through chromedriver by the WebDriver protocol over plain HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"ArrowRight": "\ue014", "ArrowLeft": "\ue012", "Home": "\ue011", "End": "\ue010", "Tab": "\ue004",
        "Enter": "\ue007"}


def browser_or_skip() -> Browser:
    """Start a browser; skip the test, saying why, where there is none."""
    chrome = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    driver = shutil.which("chromedriver")
    if chrome is None or driver is None:
        pytest.skip("no browser: install chromium and chromium-driver to open the page in one")
    return Browser(chrome, driver)


class Browser:
    """One headless window."""

    def __init__(self, chrome: str, driver: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self._driver = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self._base = f"http://127.0.0.1:{port}"
        self._session = ""
        options = {"binary": chrome, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                                              "--disable-dev-shm-usage"]}
        capabilities = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                                         "goog:loggingPrefs": {"browser": "ALL"}}}}
        for attempt in range(100):
            try:
                self._session = "/session/" + self._call("POST", "/session", capabilities)["sessionId"]
                break
            except (urllib.error.URLError, ConnectionError):
                if attempt == 99:
                    self.close()
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        """Close the window and end the driver."""
        if self._session:
            self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait(timeout=10)

    def open(self, file: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of this size."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=width < 600)
        self.command("Emulation.setEmulatedMedia",
                     features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._call("POST", "/url", {"url": file.resolve().as_uri()})

    def command(self, name: str, **params: object) -> dict:
        """Run a command of the browser's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def run(self, script: str, *args: object) -> object:
        """Run a script in the page, and return what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def click(self, selector: str) -> None:
        """Click an element, as a mouse does: it must be in sight."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, key: str) -> None:
        """Press a key."""
        actions = [{"type": kind, "value": KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        return str(self._call("GET", f"/element/{self._find(selector)}/text"))

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of all elements that are in sight."""
        return self.run("return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent !== null)"
                        ".map(e => e.innerText)", selector)

    def errors(self) -> list[str]:
        """Return what the page complained about."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, file: Path) -> None:
        """Save a picture of the window."""
        file.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def print(self, file: Path) -> None:
        """Save the page as it would be printed, as PDF."""
        file.write_bytes(base64.b64decode(self._call("POST", "/print", {"background": True})))

    def _find(self, selector: str) -> str:
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def _call(self, method: str, path: str, body: dict | None = None):
        url = self._base + self._session + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode()[:500]}") from None
