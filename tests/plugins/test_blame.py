"""The place in a plugin that an error comes from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from anyadbench.plugins.blame import blame, described, plugin_place, whole

SOURCE = """
import json


def plain():
    raise ValueError("wrong\\n  shape")


def inside_a_library():
    return json.loads("{")


def from_another():
    try:
        plain()
    except ValueError as error:
        cause = error
    return cause


def calls_back(function):
    function()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "site" / "mine_blamed"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "method.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield importlib.import_module("mine_blamed.method")
    for name in ("mine_blamed.method", "mine_blamed"):
        sys.modules.pop(name)


def raised(function: object, *arguments: object) -> BaseException:
    with pytest.raises(Exception) as caught:
        function(*arguments)  # type: ignore[operator]
    return caught.value


def test_the_last_frame_inside_the_plugin_is_named(plugin: ModuleType) -> None:
    error = raised(plugin.plain)
    assert blame(error, "mine_blamed.method:build") == "mine_blamed/method.py:6 in plain: ValueError: wrong shape"
    assert blame(error) == ""  # it is not installed
    inside = raised(plugin.inside_a_library)
    assert plugin_place(inside, "mine_blamed") == "mine_blamed/method.py:10 in inside_a_library"
    assert blame(inside, "mine_blamed").endswith("in inside_a_library: JSONDecodeError: " + str(inside))


def test_an_error_made_of_another_one_is_traced_to_that(plugin: ModuleType) -> None:
    def wrapped() -> None:
        raise RuntimeError("outer") from plugin.from_another()

    assert blame(raised(wrapped), "mine_blamed") == "mine_blamed/method.py:6 in plain: RuntimeError: outer"


def test_an_installed_plugin_is_known_without_a_name() -> None:
    from anyadbench_baselines import stfpm

    error = raised(stfpm.Stfpm, None)
    assert blame(error).startswith("anyadbench_baselines/stfpm.py:")


def test_an_error_of_anyadbench_blames_no_plugin() -> None:
    from anyadbench.plugins import find_method

    assert blame(raised(find_method, 3.5)) == ""


def test_an_error_without_words_and_its_traceback() -> None:
    error = raised(iter([]).__next__)
    assert described(error) == "StopIteration"
    assert whole(error).startswith("Traceback (most recent call last)")
