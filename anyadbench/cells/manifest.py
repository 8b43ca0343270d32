"""Provenance of a fit or cell: its software, machine and plugin."""

from __future__ import annotations

import json
import platform
import re
import resource
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from anyadbench.engine.numerics import fast_products
from anyadbench.plugins import MethodEntry, code_hash
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


def environment(device: str) -> dict[str, Any]:
    """Return versions, processor and device of this process."""
    import os

    facts: dict[str, Any] = {
        "anyadbench": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "device": "cpu",
        "cpu_products": "oneDNN" if fast_products() else "default",
    }
    if device == "cuda":
        import torch

        facts["device"] = torch.cuda.get_device_name()
        facts["cuda"] = torch.version.cuda
        facts["compute_capability"] = list(torch.cuda.get_device_capability())
    return facts


def plugin(entry: MethodEntry, factory: str) -> dict[str, Any]:
    """Return a plugin's distribution, version, code hash, required versions and, from a source tree, its origin."""
    facts: dict[str, Any] = {
        "distribution": entry.distribution,
        "version": entry.version,
        "code_hash": code_hash(entry, factory),
        "requires": _required(entry.distribution),
    }
    origin = distribution(entry.distribution).read_text("direct_url.json")
    if origin:
        record = json.loads(origin)
        facts["editable"] = bool(record.get("dir_info", {}).get("editable", False))
        if "vcs_info" in record:
            facts["commit"] = record["vcs_info"].get("commit_id")
    return facts


def _required(name: str) -> dict[str, str]:
    """Return the installed versions of a distribution's own requirements."""
    lines = [line for line in distribution(name).requires or [] if "extra ==" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]
    return {each: found for each in names if (found := _version(each))}


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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
