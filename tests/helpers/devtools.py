"""Chromium driven through its DevTools protocol over a pipe: real keys and clicks on a page with a strict policy."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from browser import CHROMIUM, FLAGS
from PIL import Image

KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageUp": 33, "PageDown": 34, "Home": 36,
    "End": 35, "Tab": 9, "Enter": 13,
}  # fmt: skip

TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))"

BOX = """(selector) => {
  const item = document.querySelector(selector);
  item.scrollIntoView({ block: "center" });
  const box = item.getBoundingClientRect();
  return [box.left, box.top, box.width, box.height];
}"""

SET = """(selector, value) => {
  const item = document.querySelector(selector);
  item.value = value;
  ["input", "change"].forEach((kind) => item.dispatchEvent(new Event(kind, { bubbles: true })));
}"""


class Navigated(Exception):
    """The page was left while an answer was due."""


class Tab:
    """One page of a browser.

    Attributes:
        messages: What the page wrote to the console, its errors and violations of its policy included.
        requests: Addresses that it asked for.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.messages: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> Any:
        return self.browser.call(method, self.session, **values)

    def open(self, address: str, width: int = 1280, height: int = 1000, script: bool = True) -> None:
        """Open a page and wait until its script is done; messages and requests start anew."""
        self.messages.clear()
        self.requests.clear()
        self.size(width, height)
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")
        if script:
            self.settle()

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # fmt: skip

    def value(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + 60
        while True:
            with suppress(Navigated):
                if self.value(condition):
                    return
            assert time.monotonic() < end, f"{condition}; the console has {self.messages}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.value(TWO_FRAMES)
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def press(self, key: str) -> None:
        """Press a key, as a person does."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = KEYS.get(key) or ord(key.upper())
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                      **(text if kind == "keyDown" else {}))  # fmt: skip
        self.settle()

    def click(self, selector: str, across: float = 0.5, down: float = 0.5, leave: bool = False) -> None:
        """Click at a place of an element, given as shares of its width and height; ``leave`` if it opens a page."""
        x, y = self._place(selector, across, down)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        if not leave:
            self.settle()

    def wheel(self, selector: str, delta: float) -> None:
        x, y = self._place(selector)
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)
        self.settle()

    def _place(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        x, y, width, height = self.value(f"({BOX})({json.dumps(selector)})")
        return x + across * width, y + down * height

    def choose(self, selector: str, value: str) -> None:
        """Set a control to a value and let it report that, as it does when a person sets it."""
        self.value(f"({SET})({json.dumps(selector)}, {json.dumps(value)})")
        self.settle()

    def pixels(self, selector: str) -> np.ndarray:
        """Return what a canvas shows, as height x width x RGB."""
        self.settle()
        uri = self.value(f"document.querySelector({json.dumps(selector)}).toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


class Browser:
    """A running Chromium."""

    def __init__(self, profile: Path) -> None:
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        command = [str(CHROMIUM), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]

        def connect() -> None:  # Chromium reads commands from descriptor 3 and answers on 4
            high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (there, back)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, preexec_fn=connect, pass_fds=(3, 4), **quiet)
        os.close(there)
        os.close(back)
        self._rest, self._number, self._tabs = b"", 0, dict[str, Tab]()

    def tab(self) -> Tab:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tabs[session] = tab = Tab(self, session)
        return tab

    def call(self, method: str, session: str = "", **values: Any) -> Any:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": values} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 90
        while True:
            answer = self._next(end - time.monotonic())
            if answer.get("id") == number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise Navigated
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, seconds))
            assert ready, "Chromium does not answer"
            self._rest += os.read(self._read, 1 << 20)
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        tab, values = self._tabs.get(event.get("sessionId", "")), event.get("params", {})
        if tab is None:
            return
        if event["method"] == "Runtime.consoleAPICalled":
            tab.messages.append(str(values["args"]))
        elif event["method"] == "Runtime.exceptionThrown":
            tab.messages.append(str(values["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded":
            tab.messages.append(values["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            tab.requests.append(values["request"]["url"])

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(timeout=30)


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Run Chromium with one page."""
    browser = Browser(profile)
    try:
        yield browser.tab()
    finally:
        browser.close()
