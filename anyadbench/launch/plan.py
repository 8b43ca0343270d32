"""From the user's request to the list of cells, without training anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from anyadbench.cells.identity import identify, method_params, weights_of
from anyadbench.cells.job import CHECKPOINT_SECONDS, RETRIES, Job
from anyadbench.cells.stores import locate, open_stores
from anyadbench.engine.numerics import resolve_policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.settings import Training
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import BUDGETS, MISSING, RETRAIN, Budget, MethodDescriptor
from anyadbench.methods.encoders import check_encoder
from anyadbench.methods.params import Value
from anyadbench.plugins import MethodEntry, find_method, how_to_install, load_methods
from anyadbench.plugins.methods import CONTROLS
from anyadbench.progress import Progress
from anyadbench.protocols.model import Protocol
from anyadbench.weights import ResolvedWeights

_CONTROL_SEED = 0


@dataclass(frozen=True)
class Request:
    """A user's request; ``None`` leaves a choice to the protocol.

    ``elsewhere`` means that the cells run on machines other than this one; ``controls`` adds the controls' cells.
    """

    methods: tuple[str, ...]
    protocol: Protocol
    runs: Path
    data: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    budget: Budget | None = None
    weights: str | None = None
    missing: str = "native"
    settings: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    deterministic: bool = False
    compile: bool | None = None
    no_graph: bool = False
    threads: int | None = None
    keep_maps: str = "sample"
    time_limit: float = 0.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    retries: int = RETRIES
    elsewhere: bool = False
    controls: bool = False


@dataclass(frozen=True)
class Plan:
    """The cells of a request.

    Attributes:
        jobs: One per method and seed, then one per control.
        data: The protocol's data, for the first job's seed.
        left_out: Why a method that only a group or a pattern asked for cannot run here, by its name: its descriptor
            says so, or the profile has no weights for it, or files that it needs are missing.
        refused: Why such a method does not run for another reason, e.g. an option that it does not follow.
    """

    jobs: list[Job]
    data: ProtocolData
    left_out: dict[str, str]
    refused: dict[str, str]


class _CannotRunError(UserError):
    """A method lacks something on this machine."""


@dataclass(frozen=True)
class _Planned:
    descriptor: MethodDescriptor
    entry: MethodEntry
    params: dict[str, Value]
    weights: ResolvedWeights


def make_plan(request: Request, progress: Progress) -> Plan:
    """Plan one job per method and seed, after checking everything that can be checked without training.

    Raises:
        UserError: If a name, a parameter, the data or the weights are wrong. A method that came with ``all`` or a
            pattern is left out instead, as long as another can run.
    """
    protocol = request.protocol
    if request.missing not in (*MISSING, RETRAIN):
        raise UserError(f"--missing cannot be {request.missing!r}; use one of {', '.join((*MISSING, RETRAIN))}.")
    if request.missing == RETRAIN and protocol.selection != "last":
        raise UserError(
            f"--missing retrain trains one model per subset, but {protocol.name} chooses among the states of a single "
            'training; use a protocol with selection = "last".'
        )
    policy = resolve_policy(
        request.device,
        request.precision,
        request.deterministic,
        request.threads or protocol.threads,
        compile=request.compile,
        elsewhere=request.elsewhere,
    )
    budget: Budget = request.budget or _budget(protocol)
    profile = anchored(request.weights or protocol.weights)
    methods, left_out, refused = _methods(request, budget, profile)
    stores = open_stores(protocol, locate(protocol, request.data), progress)
    # Where the seed chooses no subject, these are one object, whose selections are made once.
    unseeded = ProtocolData(protocol, stores)
    by_seed = {seed: unseeded.for_seed(seed) for seed in (*request.seeds, _CONTROL_SEED)}
    for data in by_seed.values() if protocol.shots else [unseeded]:
        data.check_apart()
    trained = Training({}, budget, request.missing, 0, policy)
    jobs = [
        _job(request, method, replace(trained, params=method.params, seed=seed), by_seed[seed], profile)
        for method in methods
        if not method.descriptor.is_control
        for seed in request.seeds
    ]
    # A control has one row whatever the seed, the budget and the precision of the methods beside it.
    plain = replace(policy, dtype="float32", tf32=False, compile=False, blocks=False)
    by_control = by_seed[_CONTROL_SEED]
    jobs += [
        _job(request, control, Training(control.params, "paper", "native", _CONTROL_SEED, plain), by_control, profile)
        for control in [*(method for method in methods if method.descriptor.is_control), *_controls(request, profile)]
    ]
    return Plan(jobs, by_seed[jobs[0].seed], left_out, refused)


def _job(request: Request, method: _Planned, training: Training, data: ProtocolData, profile: str) -> Job:
    protocol = request.protocol
    ids = identify(method.descriptor, method.entry, training, data, method.weights)
    return Job(
        runs=os.path.abspath(request.runs), cell_id=ids.cell, fit_id=ids.fit,
        method=method.descriptor.name, protocol=protocol.name, protocol_file=str(protocol.file), seed=training.seed,
        params=training.params, budget=cast(Budget, training.budget), missing=training.missing, weights=profile,
        policy=training.policy.to_dict(), keep_maps=request.keep_maps, time_limit=request.time_limit,
        checkpoint_seconds=request.checkpoint_seconds, retries=request.retries,
        graph=not request.no_graph,
        stores={dataset: str(store.path.resolve()) for dataset, store in data.stores.items()},
    )  # fmt: skip


def _controls(request: Request, profile: str) -> list[_Planned]:
    """Return the controls that the request wants without naming them."""
    found = []
    for name in (name for name, _ in CONTROLS if request.controls and name not in request.methods):
        descriptor, entry = find_method(name)
        params = method_params(descriptor, request.protocol, "paper")
        found.append(_Planned(descriptor, entry, params, weights_of(descriptor, params, profile, request.protocol)))
    return found


def _methods(request: Request, budget: Budget, profile: str) -> tuple[list[_Planned], dict[str, str], dict[str, str]]:
    """Return the methods that can run, why others of a group cannot run here, and why the rest of it is refused."""
    names = expand_methods(request.methods)
    settings = parse_settings(request.settings, [find_method(name)[0] for name in names])
    planned: list[_Planned] = []
    left_out: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            planned.append(_method(name, request, settings.get(name, {}), budget, profile))
        except UserError as error:
            if name in request.methods:
                raise
            (left_out if isinstance(error, _CannotRunError) else refused)[name] = str(error)
    if not planned:
        name, why = next(iter({**refused, **left_out}.items()))
        raise UserError(f"No method of --method {' '.join(request.methods)} can be run; {name}: {why}")
    return planned, left_out, refused


def _method(name: str, request: Request, settings: Mapping[str, Value], budget: Budget, profile: str) -> _Planned:
    descriptor, entry = find_method(name)
    try:
        descriptor.check_available()
    except UserError as error:
        raise _CannotRunError(str(error)) from None
    params = method_params(descriptor, request.protocol, "paper" if descriptor.is_control else budget, settings)
    known = (*descriptor.missing_policies, RETRAIN)
    if request.missing not in known:
        raise UserError(f"--missing {request.missing}: {name} does not follow it; it knows {', '.join(known)}.")
    try:
        descriptor.files_for(params)
    except UserError as error:
        if settings:
            raise  # they may be at fault
        raise _CannotRunError(str(error)) from None
    check_encoder(descriptor, params)
    weights = weights_of(descriptor, params, profile, request.protocol)
    if weights.kind == "none" and any(descriptor.weights_for(params).values()):
        raise _CannotRunError(
            f"{name} starts from pretrained weights, and the profile {profile!r} has none for it; give another one "
            "with --weights, or --weights random for a row that is marked."
        )
    return _Planned(descriptor, entry, params, weights)


def anchored(weights: str) -> str:
    """Return a choice of weights with its path, if it has one, valid in any working directory."""
    kind, separator, path = weights.partition(":")
    return f"file:{os.path.abspath(os.path.expanduser(path))}" if separator and kind == "file" and path else weights


def _budget(protocol: Protocol) -> Budget:
    return next(name for name in BUDGETS if name == protocol.budget)


def expand_methods(names: tuple[str, ...]) -> list[str]:
    """Return the requested methods without repeats; ``all`` means the comparison table and its controls."""
    expanded: list[str] = []
    for name in names:
        if name == "all":
            expanded += [d.name for d in load_methods().values() if "table" in d.families]
        elif name.endswith("*"):
            matches = [known for known in load_methods() if known.startswith(name[:-1])]
            if not matches:
                raise UserError(f"--method {name!r} matches no installed method. {how_to_install(name)}")
            expanded += matches
        else:
            expanded.append(name)
    if not expanded:
        raise UserError("No method is installed; 'pip install anyadbench-anyad' adds AnyAD.")
    return list(dict.fromkeys(expanded))


def parse_settings(settings: tuple[str, ...], descriptors: list[MethodDescriptor]) -> dict[str, dict[str, Value]]:
    """Read ``METHOD.NAME=VALUE`` settings.

    Raises:
        UserError: If one is malformed or names a method that is not run.
    """
    known = {descriptor.name for descriptor in descriptors}
    parsed: dict[str, dict[str, Value]] = {}
    for setting in settings:
        target, separator, value = setting.partition("=")
        method, dot, name = target.strip().rpartition(".")
        if not (separator and dot and name):
            raise UserError(f"--set {setting!r} is not of the form METHOD.NAME=VALUE, e.g. anyad.align_weight=0.4.")
        if method not in known:
            raise UserError(f"--set {setting!r} names the method {method!r}, which this run does not include.")
        parsed.setdefault(method, {})[name] = value.strip()
    return parsed
