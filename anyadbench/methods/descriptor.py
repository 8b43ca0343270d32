"""The light, frozen description of a method that its entry point names.

Every command that lists methods reads their descriptors, so this module and any module that defines a descriptor must
not import torch, timm or numpy.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from anyadbench.errors import UserError, suggest
from anyadbench.methods.params import Param, Value

if TYPE_CHECKING:
    from pathlib import Path

    from anyadbench.methods.contract import Context, Method

API_VERSION = 1
"""Version of the contract between harness and method; a descriptor of another version is refused."""

Budget = Literal["tiny", "demo", "paper"]
BUDGETS: tuple[Budget, ...] = ("tiny", "demo", "paper")
DEMO_SLICES = 320
"""Slices that the budget ``demo`` shows to every method that trains by gradient, repetitions counted: rows of one board
differ in the method, not in how long it trained. So many fit into the five minutes of ``make demo`` on two cores."""
TRAINING_MASKS = ("none", "per-sample", "per-epoch")
MISSING = ("native", "zero-norm", "black", "replicate")
"""How a method may handle a hidden sequence; ``native`` is the method's own way."""
ENCODER_PARAMS = ("encoder", "backbone")
"""Names of the parameter that chooses the pretrained network; each is accepted where a method has the other."""
RETRAIN = "retrain"
"""What the harness can do instead for any method: train one model per subset of sequences."""

CONTROL = "control"
"""Family of the untrained rows that the harness adds to every run; boards never rank them."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(:[a-z0-9_]+)?")


@dataclass(frozen=True)
class MethodDescriptor:
    """Everything that the harness knows about a method without running it.

    Attributes:
        name: Lower-case name with hyphens, e.g. ``"anyad"``.
        title: Name as printed in a paper's table.
        summary: One sentence.
        factory: ``"package.module:callable"``; the callable takes a ``Context`` and
            returns a ``Method``.
        params: Typed parameters. ``batch_size`` and one of ``steps`` and ``epochs`` are read by the harness; a method
            without gradient training has neither.
        budgets: Overrides of the defaults by budget. ``paper`` needs no entry.
        training_mask: How the harness draws hidden sequences in training.
        missing: How the method itself handles hidden sequences.
        missing_policies: Values of ``--missing`` that the method supports.
        weights: Name of the pretrained weights by profile (``published``, ``package``); empty if it needs none. A
            profile with ``None`` has none for it: the method cannot be run under this profile, as long as another one
            has weights.
        checkpoint: Entries of a state dict that only the authors' whole published network has (trained parts, not the
            encoder alone). ``--weights file:PATH`` with one of them is that network and is evaluated without training
            through ``load_published``; empty if the method has no such format.
        backbones: For a method with a parameter ``encoder`` (or ``backbone``): weights by profile of each short name
            that the parameter accepts besides those of ``anyadbench.weights.encoders``. It also accepts ``"profile"``,
            which means ``weights``, and any timm name with its tag.
        citation: Authors, title, venue, identifier.
        code_licence: Licence of the published code, or ``"none"``.
        files: ``"package.module:callable"``; from the resolved parameters, the callable returns the files and folders
            besides the weights that the method reads, by name. Their contents are part of the fit's id. Empty if there
            are none.
        departures: Where this implementation departs from the publication, one sentence each.
        last_state_departure: Departure that holds only where a protocol scores the last state of the training.
        chosen_on: Test data on whose figures a choice of this implementation was made, e.g. ``"phantom-7subsets"``: the
            row is marked on boards. Empty if none was.
        parity: ``"package.module:callable"`` that computes this method's numbers for a parity fixture, or empty.
        families: Groups: ``"table"`` (the comparison table, which ``--method all`` means), ``"control"``.
        unavailable: Why the method cannot be run, as the end of a sentence without its full stop, e.g. ``"it needs the
            package X; 'pip install X' adds it"``; empty if it can. Such a method is listed with the reason, refused
            if it is asked for by name, and left out of ``all`` and of patterns.
    """

    name: str
    title: str
    summary: str
    factory: str
    params: tuple[Param, ...] = ()
    budgets: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    training_mask: Literal["none", "per-sample", "per-epoch"] = "none"
    missing: str = "zero-norm"
    missing_policies: tuple[str, ...] = ("native",)
    weights: Mapping[str, str | None] = field(default_factory=dict)
    checkpoint: tuple[str, ...] = ()
    backbones: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    citation: str = ""
    code_licence: str = ""
    files: str = ""
    departures: tuple[str, ...] = ()
    last_state_departure: str = ""
    chosen_on: str = ""
    parity: str = ""
    families: tuple[str, ...] = ()
    unavailable: str = ""
    api: int = API_VERSION

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"method name {self.name!r} must be lower case letters, digits and hyphens")
        if self.api != API_VERSION:
            raise ValueError(f"{self.name}: written for plugin API {self.api}, this harness has {API_VERSION}")
        if self.training_mask not in TRAINING_MASKS:
            raise ValueError(f"{self.name}: training_mask must be one of {TRAINING_MASKS}, got {self.training_mask!r}")
        names = [param.name for param in self.params]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: two parameters have the same name")
        for budget, values in self.budgets.items():
            if budget not in BUDGETS:
                raise ValueError(f"{self.name}: budget must be one of {BUDGETS}, got {budget!r}")
            unknown = sorted(set(values) - set(names))
            if unknown:
                raise ValueError(f"{self.name}: budget {budget!r} sets the unknown parameter {unknown[0]!r}")

    @property
    def is_control(self) -> bool:
        """Whether its rows are controls."""
        return CONTROL in self.families

    def resolve(self, budget: str, overrides: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Return every parameter's value: defaults, then the budget's, then ``overrides``.

        Raises:
            UserError: If the budget or a parameter is unknown, or a value is not allowed.
        """
        if budget not in BUDGETS:
            raise UserError(f"Unknown budget {budget!r}; choose one of {', '.join(BUDGETS)}.")
        by_name = {param.name: param for param in self.params}
        values: dict[str, Value] = {param.name: param.default for param in self.params}
        for name, raw in {**self.budgets.get(budget, {}), **(overrides or {})}.items():
            name = self.encoder_param if name in ENCODER_PARAMS and self.encoder_param else name
            if name not in by_name:
                raise UserError(f"Method {self.name!r} has no parameter {name!r}.{suggest(name, list(by_name))}")
            values[name] = by_name[name].parse(raw, self.name)
        return values

    def weights_for(self, params: Mapping[str, Value]) -> Mapping[str, str | None]:
        """Return the name of the pretrained weights by profile under a set of resolved parameters."""
        from anyadbench.weights.encoders import ENCODERS

        chosen = self.encoder(params)
        if chosen == "profile":
            return self.weights
        if chosen in self.backbones:
            return self.backbones[chosen]
        # An encoder's short name means one source, whatever the profile.
        return dict.fromkeys(("published", "package"), chosen) if chosen in ENCODERS else {"published": chosen}

    @property
    def encoder_param(self) -> str:
        """Name of the parameter that chooses the pretrained network; empty if there is none."""
        return next((param.name for param in self.params if param.name in ENCODER_PARAMS), "")

    def encoder(self, params: Mapping[str, Value]) -> str:
        """Return the chosen encoder; ``profile`` for that of the weights profile."""
        return str(next((params[name] for name in ENCODER_PARAMS if name in params), "profile"))

    def portable(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return resolved parameters without those that are paths on this machine."""
        places = {param.name for param in self.params if param.place}
        return {name: value for name, value in params.items() if name not in places}

    def departures_under(self, selection: str) -> list[str]:
        """Return the departures that hold under a protocol's rule for the tested state."""
        last = [self.last_state_departure] if self.last_state_departure and selection == "last" else []
        return [*self.departures, *last]

    def files_for(self, params: Mapping[str, Value]) -> Mapping[str, Path]:
        """Return the files and folders besides the weights that the method reads under a set of resolved parameters.

        Raises:
            UserError: If one is missing.
        """
        if not self.files:
            return {}
        found: Mapping[str, Path] = _imported(self.files)(params)
        return found

    def check_available(self) -> None:
        """Refuse a method that cannot be run.

        Raises:
            UserError: If ``unavailable`` says why.
        """
        if self.unavailable:
            raise UserError(f"{self.name} cannot be run: {self.unavailable}.")

    def build(self, context: Context) -> Method:
        """Import the factory and build the method. Seed the generators before calling.

        Raises:
            UserError: If the method cannot be run.
        """
        self.check_available()
        method: Method = _imported(self.factory)(context)
        return method


def _imported(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found
