"""What identifies a fit and a cell: everything that their numbers depend on, and nothing else.

The harness's own code counts by folder: whole folders that build, train or score a model are included, and those that
plan, start, store or show cells are not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from anyadbench.hashing import python_files, sha256_code, sha256_tree, stable_hash
from anyadbench.metrics import METRIC_VERSION
from anyadbench.plugins import MethodEntry, code_hash
from anyadbench.version import __version__
from anyadbench.weights import ResolvedWeights, resolve

if TYPE_CHECKING:
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.engine.settings import Training
    from anyadbench.methods.descriptor import MethodDescriptor
    from anyadbench.methods.params import Value
    from anyadbench.protocols.model import Protocol

PACKAGE = Path(__file__).parents[1]

FIT_PARTS = ("engine", "methods", "weights", "data/store", "data/slices", "sequences.py")
"""Folders (and one file) of the harness that a trained model depends on."""

SCORING_PARTS = ("metrics/boxes", "metrics/core", "metrics/rows", "metrics/lesions", "metrics/scans")
"""Folders that the numbers of a cell depend on as well."""


class Ids(NamedTuple):
    """The ids of a fit and a cell, 64 hex digits each."""

    fit: str
    cell: str


def identify(
    descriptor: MethodDescriptor, entry: MethodEntry, training: Training, data: ProtocolData, weights: ResolvedWeights
) -> Ids:
    """Return the ids of a fit and its cell for the present code and data."""
    protocol = data.protocol
    fit = stable_hash([stable_hash(fit_identity(descriptor, entry, training, data, weights)), training.seed])
    scoring = [METRIC_VERSION, own_hash(SCORING_PARTS)]
    return Ids(fit, stable_hash([fit, protocol.name, protocol.test_part(), data.test_hash(), *scoring]))


def fit_identity(
    descriptor: MethodDescriptor, entry: MethodEntry, training: Training, data: ProtocolData, weights: ResolvedWeights
) -> dict[str, Any]:
    """Return everything that a trained model depends on, except the seed."""
    protocol = data.protocol
    identity: dict[str, Any] = {
        "method": descriptor.name,
        "params": descriptor.portable(training.params),
        "budget": training.budget,
        "missing": training.missing,
        "training_mask": descriptor.training_mask,
        "code": code_hash(entry, descriptor.factory),
        "harness": __version__,
        "harness_code": own_hash(FIT_PARTS),
        "protocol": protocol.training_part(),
        "data": data.training_hash(),
        "weights": weights.identity(),
        "policy": training.policy.to_dict(),
    }
    if files := {name: sha256_tree(path) for name, path in descriptor.files_for(training.params).items()}:
        identity["files"] = files
    if protocol.selects_on_test:
        identity |= {"selected_on": data.test_hash(), "selected_by": own_hash(SCORING_PARTS)}
    return identity


def hashed_besides(
    descriptor: MethodDescriptor, entry: MethodEntry, training: Training, data: ProtocolData
) -> dict[str, Any]:
    """Return what the ids hash besides what a result and its manifest say anyway, so that anyone can recompute them.

    The policy for missing sequences is as the user gave it; a result says which one it means.
    """
    from anyadbench.weights.resolved import NO_WEIGHTS

    names = ("missing", "harness", "harness_code", "data", "files", "selected_on", "selected_by")
    identity = fit_identity(descriptor, entry, training, data, NO_WEIGHTS)
    fit = {name: identity[name] for name in names if name in identity}
    return {"fit": fit, "scoring": own_hash(SCORING_PARTS)}


def harness_hash(parts: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Return the sha256 over some of the harness's Python files, wherever it is installed.

    Args:
        parts: Files and folders, relative to the package.
        package: Folder of the package.
    """
    return sha256_code((file, package) for part in parts for file in python_files(package / part))


@cache  # a grid has thousands of cells, and the code that this process runs does not change
def own_hash(parts: tuple[str, ...]) -> str:
    """Return ``harness_hash`` of the running harness."""
    return harness_hash(parts)


def weights_of(
    descriptor: MethodDescriptor, params: Mapping[str, Value], choice: str, protocol: Protocol
) -> ResolvedWeights:
    """Return the weights that a choice (``--weights``) selects for a method with these parameters in a protocol."""
    listed = descriptor.weights_for(params)
    return resolve(choice, listed, profile=protocol.weights, checkpoint=descriptor.checkpoint)


def method_params(
    descriptor: MethodDescriptor, protocol: Protocol, budget: str, settings: Mapping[str, Value] = MappingProxyType({})
) -> dict[str, Value]:
    """Return a method's parameters in a protocol; its own filter is off where the protocol filters every map."""
    known = {param.name for param in descriptor.params}
    off: dict[str, Value] = {}
    if protocol.scoring.smoothing_size:
        off = {"smoothing_size": 1} if "smoothing_size" in known else {"smoothing_sigma": 0.0}
    params = descriptor.resolve(budget, {name: off[name] for name in off.keys() & known} | dict(settings))
    places = {param.name for param in descriptor.params if param.place and params[param.name]}
    # The cell may run in a different working directory.
    return params | {name: os.path.abspath(os.path.expanduser(str(params[name]))) for name in places}
