"""Fixtures shared by the tests: a tiny phantom, its protocol, and a cache for the tests alone."""

from __future__ import annotations

import locale
import os
import signal
import sys
from collections.abc import Generator, Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before numpy and torch are imported

# Controls are two more processes for each run; the tests of controls ask for them.
os.environ.setdefault("ANYADBENCH_RUN_CONTROLS", "no")
os.environ.setdefault("ANYADBENCH_SCORE_CONTROLS", "no")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background jobs this way; every process of a test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dealt_out import DealtOut, is_heavy
from process_memory import give_back
from tiny import TINY_PROTOCOL

from anyadbench.processes import STOPS

if TYPE_CHECKING:
    from xdist.remote import Producer

    from anyadbench.data.store.store import SliceStore
    from anyadbench.protocols.model import Protocol


COSTLY = {"options", "tiny_phantom", "toys", "toy_site", "trained_cells", "tiny_protocol"}
"""Fixtures of tests that train or start processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the heavy tests first, then the files with the most work: the number of tests, times ten if they train.

    One process takes all the heavy tests, and each takes whole files: what is long and comes last would keep the other
    process waiting.
    """
    work: dict[Path, int] = {}
    for item in items:
        work[item.path] = work.get(item.path, 0) + (10 if COSTLY & set(getattr(item, "fixturenames", ())) else 1)
    items.sort(key=lambda item: (not is_heavy(item.nodeid), -work[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> DealtOut | None:
    """Use :class:`DealtOut` for ``--dist loadscope``: pytest-xdist 3.8 loses its groups under pytest 9.2."""
    return DealtOut(config, log) if config.getoption("dist") == "loadscope" else None


_CTYPE = locale.setlocale(locale.LC_CTYPE)


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Undo what commands, libraries and cells change for the process: signals, locale, flushing of subnormals."""
    handlers = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
    locale.setlocale(locale.LC_CTYPE, _CTYPE)
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Give memory back after a test that leaves much behind: two processes that keep it need more than there is."""
    done = yield
    give_back()
    return done


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that belongs to this test run."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["ANYADBENCH_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of a tiny phantom."""
    from anyadbench.data.phantom import PhantomSpec, generate

    return generate(tmp_path_factory.mktemp("phantom") / "tree", PhantomSpec.tiny(10, seed=37))


@pytest.fixture(scope="session")
def tiny_protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protocol file for the tiny phantom."""
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY_PROTOCOL)
    return path


@pytest.fixture(scope="module")
def options(tiny_phantom: Path, tiny_protocol: Path) -> list[str]:
    """The options for a command to run the tiny protocol."""
    return ["--protocol", str(tiny_protocol), "--data", str(tiny_phantom)]


@pytest.fixture(scope="module")
def store(tiny_phantom: Path) -> SliceStore:
    """The slices of the tiny phantom."""
    from anyadbench.data.store.build import find_or_prepare

    return find_or_prepare(tiny_phantom, "phantom")


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Path) -> Protocol:
    """The protocol of the tiny phantom."""
    from anyadbench.protocols.reader import read_protocol

    return read_protocol(tiny_protocol)


@pytest.fixture
def flushing() -> Iterator[None]:
    """A processor that reads subnormal floats as zero."""
    import torch

    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal floats")
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``PYTHONPATH`` with the toy plugin installed in it."""
    from toy_plugin import install

    return install(tmp_path_factory.mktemp("toy") / "site")


@pytest.fixture
def toys(toy_site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy plugin on the path of every process that the test starts."""
    monkeypatch.setenv("PYTHONPATH", str(toy_site))
    return toy_site


@pytest.fixture(scope="session")
def trained_cells(tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path, tiny_protocol: Path) -> dict[str, Path]:
    """Finished cells of two methods on the tiny phantom with every map kept, by method."""
    import subprocess
    import sys

    runs = tmp_path_factory.mktemp("trained") / "runs"
    command = [sys.executable, "-m", "anyadbench", "run", "--method", "pixelstats", "--method", "anyad"]
    options = ["--weights", "random", "--protocol", str(tiny_protocol), "--data", str(tiny_phantom)]
    done = subprocess.run(
        [*command, *options, "--keep-maps", "all", "--runs", str(runs)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {folder.name.partition("_")[0]: folder for folder in (runs / "cells").glob("*_*")}


@pytest.fixture(scope="session")
def volume_cell(tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path) -> Path:
    """A finished cell of a protocol that scores whole scans of five test subjects."""
    from inprocess import run
    from tiny import VOLUME_PROTOCOL

    folder = tmp_path_factory.mktemp("volumes")
    protocol = folder / "tiny.toml"
    protocol.write_text(VOLUME_PROTOCOL)
    return run(protocol, {"phantom": tiny_phantom}, folder / "runs")[0].folder


@pytest.fixture
def cell_copy(trained_cells: dict[str, Path], tmp_path: Path) -> Path:
    """A finished cell to change."""
    import shutil

    return Path(shutil.copytree(trained_cells["pixelstats"], tmp_path / "cell"))
