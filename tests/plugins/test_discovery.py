from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyadbench import plugins
from anyadbench.errors import UserError
from anyadbench.launch.plan import expand_methods

GOOD = """
from anyadbench.methods.descriptor import MethodDescriptor
M = MethodDescriptor(name="{name}", title="T", summary="s", factory="{module}:build")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    plugins.method_entries.cache_clear()
    plugins.hooks.cache_clear()
    for module in [name for name in sys.modules if name.startswith("dist_")]:
        del sys.modules[module]
    importlib.invalidate_caches()


def install(site: Path, distribution: str, name: str, code: str, group: str = "anyadbench.methods") -> None:
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(code.format(name=name, module=module))
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    value = f"{module}:M" if group == "anyadbench.methods" else module
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    forget()


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import os

    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "anyadbench", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_method_is_found_by_its_entry_point_alone(site: Path) -> None:
    install(site, "dist-a", "mine", GOOD)
    descriptor, entry = plugins.find_method("mine")
    assert (descriptor.name, entry.distribution) == ("mine", "dist-a")


def test_a_broken_plugin_is_reported_and_blocks_nothing(site: Path) -> None:
    install(site, "dist-bad", "bad", "raise RuntimeError('cannot load libfoo')")
    install(site, "dist-a", "mine", GOOD)
    assert "mine" in plugins.load_methods()
    with pytest.raises(UserError, match="'bad' of dist-bad.*RuntimeError: cannot load libfoo.*pip uninstall dist-bad"):
        plugins.find_method("bad")
    listed = run(site, "methods")
    assert listed.returncode == 0
    assert "cannot load libfoo" in " ".join(listed.stdout.split())
    assert run(site, "protocols").returncode == 0


def test_two_methods_of_one_name_are_an_error_that_names_both(site: Path) -> None:
    install(site, "dist-a", "mine", GOOD)
    install(site, "dist-b", "mine", GOOD)
    with pytest.raises(UserError, match="both dist-a and dist-b offer a method of this name; uninstall one"):
        plugins.find_method("mine")
    assert "mine" not in plugins.load_methods()


def test_a_descriptor_of_another_name_is_refused(site: Path) -> None:
    install(site, "dist-a", "mine", GOOD.replace("{name}", "other"))
    with pytest.raises(UserError, match="called 'other'; entry point and descriptor must have one name"):
        plugins.find_method("mine")


def test_what_is_no_descriptor_is_refused(site: Path) -> None:
    install(site, "dist-a", "mine", "M = 3")
    with pytest.raises(UserError, match="is a int, not a MethodDescriptor"):
        plugins.find_method("mine")


def test_a_descriptor_for_another_api_is_refused(site: Path) -> None:
    install(site, "dist-a", "mine", GOOD.replace('title="T"', 'title="T", api=99'))
    with pytest.raises(UserError, match="written for plugin API 99"):
        plugins.find_method("mine")


def test_an_unknown_method_gets_a_suggestion_and_a_way_to_install() -> None:
    with pytest.raises(UserError, match="No installed plugin offers the method 'anyadd'. Did you mean 'anyad'"):
        plugins.find_method("anyadd")


def test_no_advice_installs_a_guessed_name() -> None:
    with pytest.raises(UserError) as raised:
        plugins.find_method("numpyx")
    assert "pip install" not in str(raised.value)


def test_without_the_plugins_the_harness_works_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "method_entries", lambda: ())
    with pytest.raises(
        UserError, match="No installed plugin offers the method 'anyad'.*'pip install anyadbench-anyad' adds it"
    ):
        plugins.find_method("anyad")
    assert plugins.load_methods() == {}
    with pytest.raises(
        UserError, match=r"'anomalib:\*' matches no installed method. 'pip install anyadbench-anomalib' a"
    ):
        expand_methods(("anomalib:*",))


def test_a_hook_that_does_not_exist_is_reported(site: Path) -> None:
    code = "from anyadbench.plugins.hookspecs import hookimpl\n@hookimpl\ndef anyadbench_layoutz():\n    return ()\n"
    install(site, "dist-h", "hooky", code, group="anyadbench")
    _, broken = plugins.hooks()
    assert [item.name for item in broken] == ["hooky"]
    assert "anyadbench_layoutz" in broken[0].message


def test_a_hook_that_raises_is_reported_and_blocks_nothing(site: Path) -> None:
    code = (
        "from anyadbench.plugins.hookspecs import hookimpl\n"
        "@hookimpl\ndef anyadbench_protocols():\n    raise RuntimeError('boom')\n"
    )
    install(site, "dist-h", "hooky", code, group="anyadbench")
    assert run(site, "protocols").returncode == 0
    listed = run(site, "plugins")
    assert listed.returncode == 0
    assert "anyadbench_protocols raised RuntimeError: boom" in " ".join(listed.stdout.split())


def test_a_protocol_of_a_plugin_that_is_wrong_costs_only_itself(site: Path) -> None:
    (site / "theirs.toml").write_text("name = 3")
    code = (
        "from pathlib import Path\nfrom anyadbench.plugins.hookspecs import hookimpl\n"
        "@hookimpl\ndef anyadbench_protocols():\n    return [Path(__file__).parent / 'theirs.toml']\n"
    )
    install(site, "dist-p", "protocols", code, group="anyadbench")
    listed = run(site, "protocols")
    assert listed.returncode == 0
    assert "phantom-7subsets" in listed.stdout
    assert "theirs.toml" in listed.stderr


def test_the_code_hash_follows_the_plugin_and_what_it_builds_on() -> None:
    entries = {entry.name: entry for entry in plugins.method_entries()}
    roots = {path.relative_to(base).parts[0] for path, base in plugins._code_files(entries["anyad"])}
    assert roots == {"anyadbench_anyad", "anyadbench_baselines"}
    assert plugins.code_hash(entries["anyad"]) != plugins.code_hash(entries["inpformer"])


def test_the_code_hash_follows_a_plugin_of_a_single_file(site: Path) -> None:
    install(site, "dist-a", "mine", GOOD)
    _, entry = plugins.find_method("mine")
    before = plugins.code_hash(entry)
    module = site / "dist_a.py"
    module.write_text(module.read_text() + "# changed\n")
    assert plugins.code_hash(entry) != before
