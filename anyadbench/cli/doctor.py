"""``anyadbench doctor``: what is installed, which problems there are, and how to fix them."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from anyadbench.cli.options import json_option
from anyadbench.cli.output import print_json, print_table
from anyadbench.errors import UserError
from anyadbench.version import __version__

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "nibabel", "nilearn", "scipy", "opencv-python-headless")
LOW_DISK_GB = 5.0


@click.command()
@json_option()
def doctor(as_json: bool) -> None:
    """Check versions, devices, caches and weights, and show how to fix problems."""
    found = [*_versions(), *_devices(), *_folders(), *_plugins(), *_weights()]
    if as_json:
        print_json([dict(zip(("what", "state", "detail"), row, strict=True)) for row in found])
    else:
        print_table(["what", "state", "detail"], found)
    if any(row[1] == "problem" for row in found):
        raise SystemExit(1)


def _versions() -> list[list[str]]:
    rows = [["anyadbench", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"]]
    for name in _LIBRARIES:
        try:
            rows.append([name, "ok", version(name)])
        except PackageNotFoundError:
            rows.append([name, "problem", f"not installed: pip install {name}"])
    return rows


def _devices() -> list[list[str]]:
    try:
        import torch
    except Exception as error:  # a broken installation of torch can raise anything
        return [["torch", "problem", f"cannot be imported ({error}); install matching torch and torchvision"]]
    rows = [["cpu", "ok", f"{os.cpu_count()} processors, {torch.get_num_threads()} torch threads"]]
    if not torch.cuda.is_available():
        return [*rows, ["gpu", "none", "no CUDA device: runs use the CPU; budget 'demo' is made for it"]]
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        rows.append([f"gpu {i}", "ok", f"{facts.name}, {facts.total_memory / 1e9:.0f} GB"])
    return rows


def _folders() -> list[list[str]]:
    from anyadbench.paths import cache_dir

    try:
        cache = cache_dir()
    except UserError as error:
        return [["cache", "problem", str(error)]]
    parent = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(parent).free / 1e9
    if not os.access(parent, os.W_OK):
        return [["cache", "problem", f"{cache} cannot be written; set ANYADBENCH_CACHE to a writable folder"]]
    if free < LOW_DISK_GB:
        fix = "free some space, or set ANYADBENCH_CACHE to a folder on another disk"
        return [["cache", "problem", f"{cache}: only {free:.1f} GB free; {fix}"]]
    return [["cache", "ok", f"{cache}, {free:.0f} GB free"]]


def _plugins() -> list[list[str]]:
    from anyadbench.plugins import BrokenPlugin, hooks, scan_methods

    methods = scan_methods()
    broken = [item for item in (*methods, *hooks()[1]) if isinstance(item, BrokenPlugin)]
    rows = [["methods", "ok" if len(methods) > len(broken) else "problem", f"{len(methods) - len(broken)} usable"]]
    if not methods:
        rows = [["methods", "problem", "no method is installed: pip install anyadbench-anyad anyadbench-baselines"]]
    # No problem of this machine: a broken plugin blocks no command.
    return rows + [[f"plugin {item.name}", "broken", item.message] for item in broken]


def _weights() -> list[list[str]]:
    from anyadbench.weights import describe

    return [_weight_row(source) for source in describe()]


def _weight_row(source: dict[str, Any]) -> list[str]:
    available = bool(source["available"])
    detail = source["where"] if available else source["todo"]
    return [f"weights {source['name']}", "ok" if available else "absent", str(detail)]
