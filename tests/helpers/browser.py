"""Pages in a real browser, Debian's Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip


def browse(tmp_path: Path, address: str, *options: str) -> tuple[str, list[str]]:
    """Open a page; return its standard output and the console messages."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def screenshot(tmp_path: Path, address: str, size: str, *options: str) -> np.ndarray:
    path = tmp_path / "shot.png"
    browse(tmp_path, address, f"--screenshot={path}", f"--window-size={size}", *options)
    return np.asarray(Image.open(path).convert("L"), dtype=float)
