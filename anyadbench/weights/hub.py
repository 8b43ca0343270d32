"""Finding weight files in the Hugging Face cache, and downloading them if the hub can be reached."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from anyadbench.weights.sources import WeightSource

HUB_FILE = "model.safetensors"
PROBE_SECONDS = 8.0
"""How long the hub may take to answer one query about a file before it counts as unreachable."""


class HubError(Exception):
    """Why the hub gave no file: a clause that completes "... are not in the hub cache and"."""


def hub_repository(source: WeightSource) -> str:
    """Return the hub repository of a source, e.g. ``timm/resnet18.tv_in1k``."""
    return f"timm/{source.architecture}"


def cached_path(source: WeightSource) -> Path | None:
    """Return the file in the local hub cache, or ``None``; never uses the network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(
        hub_repository(source), HUB_FILE, cache_dir=constants.HF_HUB_CACHE, revision=source.revision
    )
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def is_offline() -> bool:
    """Return whether the user forbids the network (``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE``)."""
    from huggingface_hub import constants

    # The library reads the variables once, when it is imported; a test or a notebook may set them later.
    wanted = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return bool(constants.HF_HUB_OFFLINE) or wanted.upper() in constants.ENV_VARS_TRUE_VALUES


def hub_path(source: WeightSource) -> Path:
    """Return the weight file from the local hub cache, else download it there.

    Raises:
        HubError: If it is not in the cache, and the network is forbidden or the hub does not answer or refuses.
    """
    found = cached_path(source)
    if found is not None:
        return found
    if is_offline():
        raise HubError("HF_HUB_OFFLINE forbids a download")
    return _download(source)


def _download(source: WeightSource) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    repository = hub_repository(source)
    # A download retries for half a minute before it gives up, and a dead name server can hang for longer, so a short
    # query comes first.
    url = hf_hub_url(repository, HUB_FILE, revision=source.revision)
    _within(PROBE_SECONDS, lambda: get_hf_file_metadata(url, timeout=PROBE_SECONDS / 2))
    try:
        return Path(hf_hub_download(repository, HUB_FILE, revision=source.revision, cache_dir=constants.HF_HUB_CACHE))
    except Exception as error:  # the client's errors share no base class across its HTTP libraries
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOSPC):
            why = f"that cannot be written ({error.strerror}; set HF_HOME to another folder)"
            raise HubError(f"the folder of the cache is {constants.HF_HUB_CACHE}, {why}") from error
        raise HubError(f"the download broke off ({_brief(error)})") from error


def _within(seconds: float, ask: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            ask()
        except Exception as error:  # handed to the caller's thread below
            failures.append(error)

    # A thread, because no time limit of the HTTP client covers the name look-up; daemonic, so a hanging one never
    # keeps the process alive.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise HubError(f"the hub does not answer within {seconds:g} seconds")
    if failures:
        from huggingface_hub.errors import HfHubHTTPError

        verb = "refuses the file" if isinstance(failures[0], HfHubHTTPError) else "cannot be reached"
        raise HubError(f"the hub {verb} ({_brief(failures[0])})") from failures[0]


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}" if text else type(error).__name__
