"""Resolving ``--weights`` and a method's list to a file with a hash, and the state of every source for ``doctor``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from anyadbench.errors import UserError, suggest
from anyadbench.weights.checksums import cached_sha256
from anyadbench.weights.encoders import source_named
from anyadbench.weights.hub import HUB_FILE, HubError, cached_path, hub_path, hub_repository
from anyadbench.weights.packages import install_line, package_path
from anyadbench.weights.resolved import NO_WEIGHTS, ResolvedWeights
from anyadbench.weights.sources import SOURCES, WeightSource

_WHOLE = "The published network in {}, encoder and trained parts; nothing was trained."
PROFILES: tuple[str, ...] = ("published", "package")


def resolve(
    spec: str,
    profile_weights: Mapping[str, str | None],
    *,
    profile: str = "published",
    checkpoint: Sequence[str] = (),
) -> ResolvedWeights:
    """Find the weights that one method starts from.

    Hub weights are taken from the local hub cache or downloaded; nothing falls back to other weights.

    Args:
        spec: ``published``, ``package``, ``random`` or ``file:PATH``.
        profile_weights: Name of a source per profile, as the method lists it; ``None`` where it needs no weights.
        checkpoint: Entries that identify a file as the whole network that the method's authors published.
        profile: For ``random`` and ``file:PATH``, the profile whose architecture is meant (that of the protocol).

    Raises:
        UserError: If the option is unknown, the method lists nothing under it, or the weights are not available.
    """
    wanted = spec if spec in PROFILES else profile
    named = [each for each, name in profile_weights.items() if name is not None]
    if spec not in PROFILES and wanted not in named and len(named) == 1:
        wanted = named[0]  # a backbone chosen by name has one architecture, whatever the profile
    if spec not in PROFILES and spec != "random" and not spec.startswith("file:"):
        raise UserError(
            f"--weights {spec!r} is not known; use published, package, random or file:PATH."
            + suggest(spec, ["published", "package", "random"])
        )
    if all(name is None for name in profile_weights.values()):
        return _file(spec.removeprefix("file:"), None, checkpoint) if checkpoint and spec[:5] == "file:" else NO_WEIGHTS
    source = _listed(spec, wanted, profile_weights)
    if source is None:
        return NO_WEIGHTS
    if spec == "random":
        return _random(source)
    if spec.startswith("file:"):
        return _file(spec.removeprefix("file:"), source, checkpoint)
    return _named(source, spec, profile_weights)


def describe(sources: Mapping[str, WeightSource] = SOURCES) -> list[dict[str, object]]:
    """Return for each source whether it is installed, where, and how to get it if not; never uses the network.

    Args:
        sources: Sources by the name to give them.

    Keys: ``name``, ``title``, ``kind``, ``architecture``, ``licence``, ``available``, ``where`` (path or empty) and
    ``todo`` (empty if available).
    """
    rows: list[dict[str, object]] = []
    for name, source in sources.items():
        where, todo = _state(source)
        rows.append(
            {
                "name": name,
                "title": source.title,
                "kind": source.kind,
                "architecture": source.architecture,
                "licence": source.licence,
                "available": not todo,
                "where": where,
                "todo": todo,
            }
        )
    return rows


def _state(source: WeightSource) -> tuple[str, str]:
    if source.kind == "package":
        try:
            return str(package_path(source)), ""
        except UserError as error:
            return "", str(error)
    if source.kind == "file":
        return "", f"Download {_published_file(source)} and pass --weights file:PATH."
    found = cached_path(source)
    if found is not None:
        return str(found), ""
    return "", f"It is downloaded on first use; without a network, {_by_hand(source)}."


def _by_hand(source: WeightSource) -> str:
    return f"download {HUB_FILE} of {hub_repository(source)} on a connected machine and pass --weights file:PATH"


def _listed(spec: str, profile: str, profile_weights: Mapping[str, str | None]) -> WeightSource | None:
    if profile not in profile_weights:
        listed = ", ".join(sorted(profile_weights)) or "none"
        raise UserError(
            f"--weights {spec}: the method lists no weights for the profile {profile!r}; it lists {listed}, "
            "so pass --weights with one of these."
        )
    name = profile_weights[profile]
    if name is None:
        return None
    return source_named(name)


def _named(source: WeightSource, profile: str, profile_weights: Mapping[str, str | None]) -> ResolvedWeights:
    if source.kind == "file":
        raise UserError(
            f"The encoder {source.name} is in no package and is not downloaded: download {_published_file(source)} "
            f"(licence: {source.licence}) and pass --weights file:PATH with it."
        )
    if source.kind == "package":
        path = package_path(source)
    else:
        try:
            path = hub_path(source)
        except HubError as error:
            raise UserError(
                f"Weights {source.name!r} are not in the hub cache and {error}: {_by_hand(source)}, "
                f"{_package_choice(source, profile_weights)}or use --weights random."
            ) from error
    found = cached_sha256(path)
    if source.sha256 is not None and found != source.sha256:
        raise UserError(
            f"{path} is not the file of {source.name!r} (SHA-256 {found[:12]}..., expected {source.sha256[:12]}...): "
            "delete it and download it again."
        )
    return _resolved(source, path, found, profile)


def _published_file(source: WeightSource) -> str:
    return f"{source.repository_file} of the hub repository {source.repository}"


def _package_choice(source: WeightSource, profile_weights: Mapping[str, str | None]) -> str:
    other = SOURCES.get(profile_weights.get("package") or "")
    if other is None or other is source or other.kind != "package":
        return ""
    return f"or use --weights package ({other.title} of the package {other.package}; '{install_line(other)}'), "


def _resolved(source: WeightSource, path: Path, sha256: str, profile: str) -> ResolvedWeights:
    return ResolvedWeights(
        name=source.name,
        profile=profile,
        architecture=source.architecture,
        kind=source.kind,
        path=str(path),
        sha256=sha256,
        licence=source.licence,
        input_size=source.input_size,
        mean=source.mean,
        std=source.std,
        provenance=source.provenance,
        # The hub cache keeps a file at snapshots/<commit>/<file>.
        revision=path.parent.name if source.kind == "hub" else None,
    )


def _random(source: WeightSource) -> ResolvedWeights:
    return ResolvedWeights(
        name=f"random:{source.architecture}",
        profile="random",
        architecture=source.architecture,
        kind="random",
        input_size=source.input_size,
        mean=source.mean,
        std=source.std,
        provenance=f"Random weights instead of {source.name}, drawn from the run's seed.",
        marked=True,
    )


def _file(text: str, source: WeightSource | None, checkpoint: Sequence[str]) -> ResolvedWeights:
    """Return what a file holds: weights of ``source``, or the whole published network, the only choice without one."""
    path = Path(os.path.expanduser(text))
    if not text or not path.is_file():
        wanted = "network that the method's authors published"
        if source is not None:
            named = f", {_published_file(source)}" if source.kind == "file" else ""
            wanted = f"weights of {source.architecture}{named}"
        raise UserError(
            f"--weights file:{text}: there is no such file; pass the path of a .safetensors or .pth file with the "
            f"{wanted}."
        )
    path = path.resolve()
    try:
        digest = cached_sha256(path)
    except OSError as error:
        raise UserError(f"--weights file:{text} cannot be read ({error.strerror}); make it readable.") from error
    whole = bool(checkpoint) and is_checkpoint(path, checkpoint)
    if source is None and not whole:
        raise UserError(
            f"--weights file:{text} is not the network that the method's authors published (it has no {checkpoint[0]!r}"
            "), and the method starts from no other weights; pass that network, or leave the option out."
        )
    if source is None:
        return _whole_network(path, digest)
    # An encoder that only a hub has shares its architecture with others, so its own name is kept.
    named = source.name if source.kind == "file" else source.architecture
    return ResolvedWeights(
        name=f"{'checkpoint' if whole else 'file'}:{named}",
        profile="file",
        architecture=source.architecture,
        kind="checkpoint" if whole else "file",
        path=str(path),
        sha256=digest,
        licence=source.licence if source.kind == "file" else "unknown",
        input_size=source.input_size,
        mean=source.mean,
        std=source.std,
        provenance=_WHOLE.format(path.name) if whole else f"The user's own file {path.name}, read as {named}.",
    )


def _whole_network(path: Path, digest: str) -> ResolvedWeights:
    """Return the published network of a method that starts from no pretrained weights."""
    return ResolvedWeights(
        name="checkpoint",
        profile="file",
        architecture="",
        kind="checkpoint",
        path=str(path),
        sha256=digest,
        licence="unknown",
        provenance=_WHOLE.format(path.name),
    )


def is_checkpoint(path: Path, entries: Sequence[str]) -> bool:
    """Return whether a weights file holds the authors' whole network, identified by any of these entries.

    Raises:
        UserError: If it is not a file of tensors.
    """
    from anyadbench.weights.reading import read_tensors

    names = read_tensors(path).keys()
    return any(name in names for name in entries)
