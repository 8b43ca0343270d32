"""Packages of other people, next to which every command works: odd metadata, and code that exits, prints or hangs."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packages import environment, forget

from anyadbench import plugins
from anyadbench.errors import UserError
from anyadbench.launch.launchers import find_launcher
from anyadbench.plugins import entry_points, guard
from anyadbench.plugins.code_hash import requirements

DESCRIPTOR = """
from anyadbench.methods.descriptor import MethodDescriptor
M = MethodDescriptor(name="mine", title="T", summary="s", factory="foreign:build")
"""
HOOK = "from anyadbench.plugins.hookspecs import hookimpl\n@hookimpl\ndef anyadbench_layouts():\n    "


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    again()
    yield tmp_path
    again()


def again() -> None:
    forget()
    sys.modules.pop("foreign", None)
    importlib.invalidate_caches()


def install(site: Path, code: str, points: str, folder: str = "foreign-1.0.dist-info", name: str = "foreign") -> Path:
    (site / "foreign.py").write_text(code)
    info = site / folder
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    again()
    return info


def method(site: Path, code: str) -> str:
    """Install a method whose module has this code, and return why it cannot be used."""
    install(site, code, "[anyadbench.methods]\nmine = foreign:M\n")
    with pytest.raises(UserError) as raised:
        plugins.find_method("mine")
    assert "mine" not in plugins.load_methods()
    return str(raised.value)


def start(site: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "anyadbench", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(site, **more))


METADATA = {
    "latin-1": "Metadata-Version: 1.1\nName: old\nVersion: 0.3\nAuthor: José\n".encode("latin-1"),
    "utf-16": "Metadata-Version: 1.1\nName: old\nVersion: 0.3\n".encode("utf-16"),
    "no name": b"Metadata-Version: 2.1\nVersion: 0.3\n",
    "no version": b"Metadata-Version: 2.1\nName: old\n",
    "empty": b"",
    "zeros": bytes(100),
    "missing": None,
}


@pytest.mark.parametrize(
    "folder", ["old-0.3.egg-info", "old-0.3.dist-info", "old.egg-info", ".dist-info", "-.egg-info"]
)
@pytest.mark.parametrize("kind", METADATA)
def test_odd_metadata_of_another_package_changes_nothing(kind: str, folder: str, site: Path) -> None:
    before = [entry.name for entry in plugins.method_entries()]
    (site / folder).mkdir()
    content = METADATA[kind]
    if content is not None:
        for name in ("METADATA", "PKG-INFO", "RECORD", "requires.txt", "entry_points.txt"):
            (site / folder / name).write_bytes(content)
    again()
    assert [entry.name for entry in plugins.method_entries()] == before
    assert not plugins.hooks()[1]


@pytest.mark.parametrize("kind", METADATA)
def test_a_plugin_with_odd_metadata_works_under_the_name_of_its_folder(kind: str, site: Path) -> None:
    info = install(site, DESCRIPTOR, "[anyadbench.methods]\nmine = foreign:M\n")
    content = METADATA[kind]
    (info / "METADATA").unlink()
    if content is not None:
        (info / "METADATA").write_bytes(content)
    again()
    descriptor, entry = plugins.find_method("mine")
    assert descriptor.name == "mine"
    assert entry.distribution == ("old" if kind == "no version" else "foreign")
    assert entry.version == ("0.3" if kind == "no name" else "1.0")
    assert plugins.code_hash(entry)


def test_requirements_that_nobody_can_read_are_left_out(site: Path) -> None:
    info = install(site, DESCRIPTOR, "[anyadbench.methods]\nmine = foreign:M\n")
    with open(info / "METADATA", "a") as file:
        file.write("Requires-Dist: ok>=1\nRequires-Dist: ===(\nRequires-Dist: tests; extra == 'dev'\n")
    assert requirements("foreign") == ["ok"]
    assert requirements("there-is-none") == []


def test_a_command_reads_no_metadata_of_packages_that_offer_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    own = entry_points.facts
    monkeypatch.setattr(entry_points, "facts", lambda found: read.append("") or own(found))  # type: ignore[func-returns-value]
    listed = [item for item in entry_points.entry_points("anyadbench.methods") if isinstance(item, entry_points.Offer)]
    assert len(read) == len({item.distribution for item in listed})


def test_a_line_that_is_no_entry_point_is_reported(site: Path) -> None:
    install(site, DESCRIPTOR, "[anyadbench.methods]\nmine\n[anyadbench]\nhooks =\n")
    (broken,) = (item for item in plugins.scan_methods() if isinstance(item, plugins.BrokenPlugin))
    assert broken.message == (
        "Plugin 'foreign' of foreign cannot be used: its entry_points.txt has the line 'mine', which is no "
        "'NAME = MODULE:OBJECT'; reinstall it."
    )
    assert "'hooks ='" in plugins.hooks()[1][0].message


@pytest.mark.parametrize(
    ("second", "name"),
    [
        ("my_plugin.egg-info", "my-plugin"),
        ("My.Plugin-1.0.dist-info", "My.Plugin"),
        ("MY_PLUGIN.egg-info", "MY__PLUGIN"),
    ],
)
def test_one_plugin_spelled_in_two_ways_is_one(second: str, name: str, site: Path) -> None:
    points = "[anyadbench.methods]\nmine = foreign:M\n[anyadbench]\nmine = foreign\n"
    install(site, DESCRIPTOR, points, "my_plugin-1.0.dist-info", "my_plugin")
    info = install(site, DESCRIPTOR, points, second, name)
    (info / "METADATA").rename(info / ("PKG-INFO" if second.endswith("egg-info") else "METADATA"))
    again()
    assert plugins.find_method("mine")[0].name == "mine"
    assert not plugins.hooks()[1]


ENDS = {
    "import sys\nsys.exit('no GPU found')": "SystemExit: no GPU found",
    "exit(3)": "SystemExit: 3",
    "import os\nos._exit(3)": r"SystemExit: os\._exit\(3\)",
    "raise KeyboardInterrupt": "KeyboardInterrupt: ",
    "class Stop(BaseException): ...\nraise Stop('a\\nb')": "Stop: a b",
    "raise GeneratorExit": "GeneratorExit: ",
}


@pytest.mark.parametrize("code", ENDS)
def test_a_method_that_ends_the_program_at_import_is_broken(code: str, site: Path) -> None:
    said = method(site, code)
    assert re.search(f"'mine' of foreign cannot be used: {ENDS[code]}; fix or update it", said), said


@pytest.mark.parametrize("code", ENDS)
def test_a_hook_that_ends_the_program_is_broken(code: str, site: Path) -> None:
    install(site, code, "[anyadbench]\nmine = foreign\n")
    assert [item.name for item in plugins.hooks()[1]] == ["mine"]
    assert "brats2018" in plugins.all_layouts()


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "return None", "yield 1 / 0"])
def test_a_hook_whose_answer_cannot_be_used_is_reported(code: str, site: Path) -> None:
    install(site, HOOK + code, "[anyadbench]\nmine = foreign\n")
    found, broken = plugins.collect("anyadbench_layouts")
    assert [item.name for item in broken] == ["mine"]
    assert "anyadbench_layouts raised" in broken[0].message
    assert all(found)


def test_a_launcher_that_exits_is_a_sentence(site: Path) -> None:
    code = "from anyadbench.plugins.hookspecs import hookimpl\n@hookimpl\ndef anyadbench_launchers():\n"
    install(site, f"{code}    return {{'far': 'far_away:launch'}}\n", "[anyadbench]\nmine = foreign\n")
    (site / "far_away.py").write_text("raise SystemExit('no cluster')")
    with pytest.raises(UserError, match=r"The launcher 'far' \(far_away:launch\) cannot be used: SystemExit: no clust"):
        find_launcher("far")


def test_commands_list_a_plugin_that_exits_and_work(site: Path) -> None:
    install(
        site, "raise SystemExit('no GPU found')", "[anyadbench.methods]\nmine = foreign:M\n[anyadbench]\nh = foreign\n"
    )
    for command in ("methods", "plugins", "datasets"):
        process = start(site, command)
        said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert command == "datasets" or "SystemExit: no GPU found" in " ".join(said[0].split())


def test_json_stays_json_whatever_a_plugin_prints(site: Path) -> None:
    prints = "import os, sys\nprint('hello')\nos.write(1, b'raw\\n')\nos.system('echo child')\nsys.stdout = None\n"
    install(site, prints + DESCRIPTOR, "[anyadbench.methods]\nmine = foreign:M\n[anyadbench]\nh = foreign\n")
    process = start(site, "methods", "--json")
    out, err = process.communicate(timeout=60)
    assert "mine" in [item["name"] for item in json.loads(out)]
    assert {"hello", "raw", "child"} <= set(err.split())


@pytest.mark.parametrize("code", ["time.sleep(100)", "while True:\n  try: time.sleep(100)\n  except Exception: pass"])
def test_a_plugin_that_hangs_is_given_up(code: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.SECONDS, "0.3")
    said = method(site, f"import time\n{code}\n")
    assert "TimeoutError: it did not end within 0.3 s (set ANYADBENCH_PLUGIN_SECONDS to allow more); fix" in said


def test_another_alarm_is_kept(site: Path) -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        assert guard.guarded(lambda: 3, "a test") == 3
        deadline = time.monotonic() + 10
        while not rung and time.monotonic() < deadline:
            time.sleep(0.05)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def test_ctrl_c_names_the_plugin_that_hangs(site: Path) -> None:
    flag = site / "begun"
    code = f"import time\nopen({str(flag)!r}, 'w').close()\ntry:\n  time.sleep(100)\nexcept BaseException: pass\n"
    install(site, code, "[anyadbench.methods]\nmine = foreign:M\n")
    process = start(site, "methods")
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "Stopped during the import of plugin 'mine' of foreign" in process.communicate(timeout=30)[1]
    assert process.returncode == 130


def test_a_worker_that_is_asked_to_stop_imports_its_plugin_first() -> None:
    asked: list[int] = []
    handler = signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
    try:
        assert guard.guarded(lambda: os.kill(os.getpid(), signal.SIGUSR1), "a test") is None
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert asked == [signal.SIGUSR1]


def test_plugins_of_other_threads_are_guarded_without_signals() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            guard.guarded(lambda: os._exit(4), "a test")
        except guard.PluginError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert [str(error) for error in failed] == ["SystemExit: os._exit(4)"]
