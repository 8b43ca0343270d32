"""Provenance of a fit or cell: its software, machine and plugin."""

from __future__ import annotations

import json
import platform
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from anyadbench.engine.numerics import fast_products
from anyadbench.plugins import MethodEntry, code_hash
from anyadbench.plugins.code_hash import requirements
from anyadbench.plugins.entry_points import facts
from anyadbench.version import __version__

_LIBRARIES = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "torchvision",
    "timm",
    "nibabel",
    "opencv-python-headless",
    "scikit-learn",
)
_MODULES = {"opencv-python-headless": "cv2", "scikit-learn": "sklearn", "pillow": "PIL", "scikit-image": "skimage"}
"""Modules whose names are not those of their distributions."""


def environment(device: str) -> dict[str, Any]:
    """Return versions, processor and device of this process; of a library, the version that it imported."""
    import os

    found = {name: version for name in _LIBRARIES if (version := _version(name)).used}
    recorded: dict[str, Any] = {
        "anyadbench": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "libraries": {name: version.used for name, version in found.items()},
        # What pip lists, where another version was imported, and what was imported from another folder.
        "installed": {name: version.installed for name, version in found.items() if version.differs},
        "elsewhere": [name for name, version in found.items() if version.elsewhere],
        "device": "cpu",
        "cpu_products": "oneDNN" if fast_products() else "default",
    }
    if device == "cuda":
        import torch

        recorded["device"] = torch.cuda.get_device_name()
        recorded["cuda"] = torch.version.cuda
        recorded["compute_capability"] = list(torch.cuda.get_device_capability())
        recorded["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        recorded["driver"] = _driver()
    return recorded


def with_environment(earlier: Sequence[Mapping[str, Any]], own: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    """Return the environments of a training that goes on under ``own`` from a step.

    Args:
        earlier: Those before, each with its ``first_step``; what they trained after ``step`` is lost.
        own: The environment of this process.
        step: Steps that a checkpoint has kept.
    """
    kept = [dict(one) for one in earlier if one["first_step"] < step]
    return kept if kept and not differences([kept[-1], own]) else [*kept, {**own, "first_step": step}]


def differences(environments: Sequence[Mapping[str, Any]]) -> str:
    """Return in what environments differ, such as ``timm 1.0.20, then 1.0.28``; empty if in nothing that counts."""
    flat = [_facts(one) for one in environments]
    said = []
    for name in dict.fromkeys(name for one in flat for name in one):
        values = [str(one.get(name, "absent")) for one in flat]
        steps = [value for i, value in enumerate(values) if not i or value != values[i - 1]]
        if len(steps) > 1:
            said.append(f"{name} {', then '.join(steps)}")
    return "; ".join(said)


def _facts(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may change numbers, without levels."""
    left_out = ("system", "processors", "first_step", "libraries", "installed", "elsewhere")
    facts = {name: value for name, value in environment.items() if name not in left_out}
    listed = {f"{name} (installed)": version for name, version in environment.get("installed", {}).items()}
    return {**environment.get("libraries", {}), **listed, **facts}


def _processor(listing: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of the processor."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", listing.read_text(encoding="utf-8", errors="replace"), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _driver(places: Sequence[Path] = (Path("/sys/module/nvidia/version"), Path("/proc/driver/nvidia/version"))) -> str:
    """Return the version of the GPU driver, empty if the system does not show it."""
    for place in places:
        with suppress(OSError):
            found = re.search(r"\d+\.\d+(\.\d+)?", place.read_text(encoding="utf-8", errors="replace"))
            if found:
                return found[0]
    return ""


def plugin(entry: MethodEntry, factory: str) -> dict[str, Any]:
    """Return a plugin's distribution, version, code hash, required versions and, from a source tree, its origin."""
    record: dict[str, Any] = {}
    recorded: dict[str, Any] = {
        "distribution": entry.distribution,
        "version": entry.version,
        "code_hash": code_hash(entry, factory),
        "requires": _required(entry.distribution),
    }
    with suppress(OSError, ValueError, PackageNotFoundError):
        record = json.loads(distribution(entry.distribution).read_text("direct_url.json") or "{}")
    if record:
        recorded["editable"] = bool(record.get("dir_info", {}).get("editable", False))
        if "vcs_info" in record:
            recorded["commit"] = record["vcs_info"].get("commit_id")
    return recorded


def _required(name: str) -> dict[str, str]:
    """Return the versions in use of a distribution's own requirements."""
    return {each: found for each in requirements(name) if (found := _version(each).used)}


def peak_memory(device: str) -> dict[str, float]:
    """Return the peak resident memory of this process and, on a GPU, of the device, in MB (10^6 bytes)."""
    memory = {"host_mb": _peak_resident() / 1e6}
    if device == "cuda":
        import torch

        memory["device_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return memory


def _peak_resident(status: Path = Path("/proc/self/status")) -> int:
    """Return the peak resident memory of this process in bytes."""
    if status.exists():
        # Not ru_maxrss, which on Linux includes the process that started this one.
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    # In kilobytes on Linux and in bytes on macOS.
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Version(NamedTuple):
    """The version of a distribution that was imported, and the one that pip lists; empty without."""

    used: str
    installed: str
    elsewhere: bool = False

    @property
    def differs(self) -> bool:
        return bool(self.installed) and self.used != self.installed


def _version(name: str) -> _Version:
    """Return the version of the module that was imported, which need not be the installed distribution's."""
    try:
        found = distribution(name)
        installed, root = facts(found)[1], Path(str(found.locate_file(""))).resolve()
    except (PackageNotFoundError, ValueError):
        installed, root = "", None
    module = sys.modules.get(_MODULES.get(name, name.replace("-", "_")))
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return _Version(installed, installed)
    elsewhere = root is not None and not Path(file).resolve().is_relative_to(root)
    said = getattr(module, "__version__", None)
    if not isinstance(said, str):
        return _Version("unknown" if elsewhere else installed, installed, elsewhere)
    # A module may leave out the local part of its version ('+cpu'), or the number of the wheel.
    more = (".", "+", "-")
    if installed.startswith(tuple(said + mark for mark in more)) or said.startswith(f"{installed}+"):
        longest = max(said, installed, key=len)
        return _Version(longest, longest, elsewhere)
    return _Version(said, installed, elsewhere)
