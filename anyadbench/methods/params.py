"""Typed parameters of a method. Importing this module loads neither torch nor numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from anyadbench.errors import UserError

Value = bool | int | float | str
"""Value of a parameter."""

CHANNEL_LAYOUTS = ("stack", "spread", "grey")
"""Ways in which sequences meet three channels, see ``anyadbench.methods.inputs.channel_table``."""


@dataclass(frozen=True)
class Param:
    """One typed parameter of a method.

    Attributes:
        name: Identifier used in ``--set METHOD.NAME=VALUE``.
        default: Value in the ``paper`` budget; its type is the parameter's type.
        doc: What it is, with its source (paper, file, or "choice").
        choices: Allowed values; empty means any value of the type.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        multiple_of: Number that a whole number must be a multiple of; 0 for none.
        place: Whether the value is a path. A location changes no number, so the fit's id and the result leave the
            value out; the files at that path count through the descriptor's ``files``.
    """

    name: str
    default: Value
    doc: str
    choices: tuple[Value, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int = 0
    place: bool = False

    def parse(self, raw: Value, owner: str) -> Value:
        """Convert ``raw`` (a string from the command line, or a value) to the parameter's type.

        Raises:
            UserError: If the value does not match the type, the range or the choices.
        """
        kind = type(self.default)
        text = str(raw).strip()
        value: Value
        try:
            if kind is bool:
                value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
            else:
                value = kind(text)
        except (KeyError, ValueError):
            raise UserError(
                f"Parameter {owner}.{self.name} is of type {kind.__name__}, but {text!r} is not; "
                f"give e.g. {owner}.{self.name}={self.default}."
            ) from None
        if self.choices and value not in self.choices:
            raise UserError(
                f"Parameter {owner}.{self.name} cannot be {text!r}; choose one of {', '.join(map(str, self.choices))}."
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_range(value, owner)
        return value

    def _check_range(self, value: float, owner: str) -> None:
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if not (low <= value <= high) or not math.isfinite(value):
            raise UserError(f"Parameter {owner}.{self.name} is {value}; it must lie between {low:g} and {high:g}.")
        if self.multiple_of and value % self.multiple_of:
            near = max(1, round(value / self.multiple_of)) * self.multiple_of
            raise UserError(
                f"Parameter {owner}.{self.name} is {value}; it must be a multiple of {self.multiple_of}, e.g. {near}."
            )
