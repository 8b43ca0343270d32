"""From what the user asks for to the list of cells, without training anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from anyadbench import __version__
from anyadbench.errors import UserError
from anyadbench.hashing import python_files, sha256_code, sha256_tree, stable_hash
from anyadbench.methods.descriptor import BUDGETS, MISSING, RETRAIN, Budget, MethodDescriptor, Value
from anyadbench.metrics import METRIC_VERSION
from anyadbench.plugins import MethodEntry, code_hash, find_method, how_to_install, load_methods
from anyadbench.protocols.model import Protocol
from anyadbench.run.jobs import CHECKPOINT_SECONDS, RETRIES, Job
from anyadbench.run.numerics import Policy, resolve_policy
from anyadbench.run.sources import Progress, ProtocolData, locate, open_stores
from anyadbench.weights import ResolvedWeights, resolve

PACKAGE = Path(__file__).parents[1]

FIT_CODE = (
    # What methods are built on.
    "methods", "sequences.py",
    # How pretrained weights become a backbone. Finding a file is left out: the file's hash is in the id.
    "weights/build.py", "weights/naming.py", "weights/onnx_vit.py", "weights/positions.py", "weights/reading.py",
    "weights/resolution.py", "weights/resolved.py", "weights/sources.py",
    # From the store to what a method sees, and defaults that a protocol's identity leaves out. What makes a store and
    # chooses among its slices is left out: the slices that it comes to are in the id.
    "data/geometry.py", "data/intensity.py", "data/rules.py", "data/store.py", "run/reading.py", "run/sources.py",
    # Seeds, batches, what they hide, and the training itself, from a checkpoint too.
    "run/checkpoints.py", "run/compiling.py", "run/feeding.py", "run/fit.py", "run/masking.py", "run/numerics.py",
    "run/retrain.py", "run/selection.py", "run/trainer.py",
)  # fmt: skip
"""The harness's own files, or folders of them, that a trained model depends on."""

SCORING_CODE = (
    # The rows of a test set, the scores of its slices, and the numbers that come of them.
    "metrics", "protocols/model.py", "run/cell.py", "run/evaluate.py",
)  # fmt: skip
"""What a cell's numbers depend on besides; what starts, stores and shows cells is in neither list."""


@dataclass(frozen=True)
class Request:
    """What the user asks for; ``None`` leaves a choice to the protocol.

    ``elsewhere`` means that the cells run on other machines than this one.
    """

    methods: tuple[str, ...]
    protocol: Protocol
    protocol_file: Path
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
    compile: bool = False
    threads: int | None = None
    keep_maps: str = "sample"
    time_limit: float = 0.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    retries: int = RETRIES
    elsewhere: bool = False


@dataclass(frozen=True)
class Plan:
    """What a request comes to.

    Attributes:
        jobs: One per method and seed.
        data: The protocol's data.
        left_out: Why a method that only a group or a pattern asked for cannot run, by its name.
    """

    jobs: list[Job]
    data: ProtocolData
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Planned:
    descriptor: MethodDescriptor
    entry: MethodEntry
    params: dict[str, Value]
    weights: ResolvedWeights


def make_plan(request: Request, progress: Progress) -> Plan:
    """Plan one job per method and seed, after checking all that can be checked without training.

    Raises:
        UserError: If a name, a parameter, the data or the weights are wrong. A method that came with ``all`` or a
            pattern costs only its own row, as long as another can run.
    """
    protocol = request.protocol
    if request.missing not in (*MISSING, RETRAIN):
        raise UserError(f"--missing cannot be {request.missing!r}; use one of {', '.join((*MISSING, RETRAIN))}.")
    if request.missing == RETRAIN and protocol.selection != "last":
        raise UserError(
            f"--missing retrain: {protocol.name} chooses among the states of one training, and there would be one for "
            'each set of sequences; use a protocol with selection = "last".'
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
    methods, left_out = _methods(request, budget, profile)
    stores = open_stores(protocol, locate(protocol, request.data), progress)
    data = ProtocolData(protocol, stores)
    data.check_apart()
    jobs = []
    for method in methods:
        for seed in request.seeds:
            job = Job(
                runs=os.path.abspath(request.runs), cell_id="", fit_id="", method=method.descriptor.name,
                protocol=protocol.name, protocol_file=str(request.protocol_file), seed=seed,
                params=method.params, budget=budget, missing=request.missing, weights=profile,
                policy=policy.to_dict(), keep_maps=request.keep_maps, time_limit=request.time_limit,
                checkpoint_seconds=request.checkpoint_seconds, retries=request.retries,
                stores={dataset: str(store.path.resolve()) for dataset, store in stores.items()},
            )  # fmt: skip
            jobs.append(identified(job, method.descriptor, method.entry, data, method.weights))
    return Plan(jobs, data, left_out)


def _methods(request: Request, budget: Budget, profile: str) -> tuple[list[_Planned], dict[str, str]]:
    """Return the methods that can run, and why others of a group cannot."""
    names = expand_methods(request.methods)
    settings = parse_settings(request.settings, [find_method(name)[0] for name in names])
    planned: list[_Planned] = []
    left_out: dict[str, str] = {}
    for name in names:
        try:
            planned.append(_method(name, request, settings.get(name, {}), budget, profile))
        except UserError as error:
            if name in request.methods:
                raise
            left_out[name] = str(error)
    if not planned:
        raise UserError(next(iter(left_out.values())))
    return planned, left_out


def _method(name: str, request: Request, settings: Mapping[str, Value], budget: Budget, profile: str) -> _Planned:
    descriptor, entry = find_method(name)
    params = method_params(descriptor, request.protocol, budget, settings)
    known = (*descriptor.missing_policies, RETRAIN)
    if request.missing not in known:
        raise UserError(f"--missing {request.missing}: {name} does not follow it; it knows {', '.join(known)}.")
    descriptor.files_for(params)  # raises if one is missing
    return _Planned(descriptor, entry, params, weights_of(descriptor, params, profile, request.protocol))


def weights_of(
    descriptor: MethodDescriptor, params: Mapping[str, Value], choice: str, protocol: Protocol
) -> ResolvedWeights:
    """Return the weights that a choice (``--weights``) means for a method with these parameters in a protocol."""
    listed = descriptor.weights_for(params)
    return resolve(choice, listed, profile=protocol.weights, checkpoint=descriptor.checkpoint)


def anchored(weights: str) -> str:
    """Return a choice of weights whose path, if it names one, holds in any working folder."""
    kind, separator, path = weights.partition(":")
    return f"file:{os.path.abspath(os.path.expanduser(path))}" if separator and kind == "file" and path else weights


def identified(
    job: Job, descriptor: MethodDescriptor, entry: MethodEntry, data: ProtocolData, weights: ResolvedWeights
) -> Job:
    """Return the job with the ids of its fit and its cell as everything stands now."""
    protocol = data.protocol
    fit = stable_hash(
        fit_identity(
            descriptor, entry, job.params, job.budget, job.missing, protocol, data, weights, job.numerics
        )
    )  # fmt: skip
    seeded = stable_hash([fit, job.seed])
    scoring = [METRIC_VERSION, _own_hash(SCORING_CODE)]
    cell = stable_hash([seeded, protocol.name, protocol.test_part(), data.test_hash(), *scoring])
    return replace(job, fit_id=seeded, cell_id=cell)


def harness_hash(parts: tuple[str, ...], package: Path = PACKAGE) -> str:
    """Return the sha256 over some of the harness's Python files, wherever it is installed.

    Args:
        parts: Files and folders, relative to the package.
        package: Folder of the package.
    """
    return sha256_code((file, package) for part in parts for file in python_files(package / part))


@cache  # a grid has thousands of cells; what this process runs does not change any more
def _own_hash(parts: tuple[str, ...]) -> str:
    return harness_hash(parts)


def _budget(protocol: Protocol) -> Budget:
    return next(name for name in BUDGETS if name == protocol.budget)


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
    # The cell may run in another working folder than this one.
    return params | {name: os.path.abspath(os.path.expanduser(str(params[name]))) for name in places}


def fit_identity(
    descriptor: MethodDescriptor,
    entry: MethodEntry,
    params: dict[str, Value],
    budget: str,
    missing: str,
    protocol: Protocol,
    data: ProtocolData,
    weights: ResolvedWeights,
    policy: Policy,
) -> dict[str, Any]:
    """Return everything that a trained model depends on, but for the seed."""
    files = {name: sha256_tree(path) for name, path in descriptor.files_for(params).items()}
    return {
        "method": descriptor.name,
        "params": descriptor.portable(params),
        "budget": budget,
        "missing": missing,
        "training_mask": descriptor.training_mask,
        "code": code_hash(entry, descriptor.factory),
        "harness": __version__,
        "harness_code": _own_hash(FIT_CODE),
        "protocol": protocol.training_part(),
        "data": data.training_hash(),
        "weights": weights.identity(),
        "policy": policy.to_dict(),
        **({"files": files} if files else {}),
        **(
            {"selected_on": data.test_hash(), "selected_by": _own_hash(SCORING_CODE)}
            if protocol.selects_on_test
            else {}
        ),
    }


def expand_methods(names: tuple[str, ...]) -> list[str]:
    """Return the asked-for methods without repeats; ``all`` stands for the comparison table and its controls."""
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
