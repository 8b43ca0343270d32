"""Resolved weights, which a plan hashes, a manifest records, and a method loads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyadbench.errors import UserError
from anyadbench.weights.checksums import cached_sha256
from anyadbench.weights.sources import HALF, Triple

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["hub", "package", "file", "checkpoint", "random", "none"]


@dataclass(frozen=True, kw_only=True)
class ResolvedWeights:
    """One answer to "which weights does this method start from".

    Attributes:
        name: Name of the source; ``file:<architecture>``, ``random:<architecture>`` or ``none``.
        profile: ``published``, ``package``, ``file``, ``random`` or ``none``.
        architecture: timm model name with tag, empty for ``none``.
        kind: Where the tensors come from; ``checkpoint`` is a file with the authors' whole published network.
        path: The file on this machine, if there is one.
        sha256: Hash of that file as it was when resolved.
        licence: SPDX name, ``unknown`` for the user's own file, empty where there are no weights.
        input_size: Channels, height and width that the weights were last trained at.
        mean: Per-channel mean subtracted from pixels in [0, 1].
        std: Per-channel divisor after that.
        provenance: One sentence.
        marked: Whether boards must mark the row (random weights).
        revision: Commit of the hub repository that the file was found under.
    """

    name: str
    profile: str
    architecture: str
    kind: Kind
    path: str | None = None
    sha256: str | None = None
    licence: str = ""
    input_size: tuple[int, int, int] = (3, 0, 0)
    mean: Triple = HALF
    std: Triple = HALF
    provenance: str = ""
    marked: bool = False
    revision: str | None = None

    def identity(self) -> dict[str, str | None]:
        """Return the part that ids hash: the same on every machine, so without the path."""
        return {"name": self.name, "kind": self.kind, "sha256": self.sha256}

    def manifest(self) -> dict[str, Any]:
        """Return every field as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Read the tensors in timm's naming: float32, complete, without classification heads.

        Raises:
            UserError: If the file is gone, changed since it was resolved, is damaged, or does not fit the architecture.
            ValueError: If there is nothing to read (``random``, ``none``).
        """
        self._check_file()
        from anyadbench.weights.reading import read_state

        return read_state(self)

    def published(self) -> dict[str, Tensor]:
        """Read the tensors of kind ``checkpoint`` as they are in the file, under the authors' names.

        Raises:
            UserError: If the file is gone, changed since it was resolved, is damaged, or would have to run code.
            ValueError: If the weights are of another kind.
        """
        if self.kind != "checkpoint":
            raise ValueError(f"Weights {self.name!r} are not a published checkpoint.")
        path = self._check_file()
        from anyadbench.weights.reading import read_tensors

        return read_tensors(path)

    def _check_file(self) -> Path:
        if self.path is None or self.sha256 is None:
            raise ValueError(f"Weights {self.name!r} have no tensors to read; build the backbone instead.")
        if not Path(self.path).is_file():
            raise UserError(f"{self.path} has disappeared since the run was planned; restore it or plan the run again.")
        if cached_sha256(self.path) != self.sha256:
            raise UserError(f"{self.path} has changed since the run was planned; plan the run again.")
        return Path(self.path)


NO_WEIGHTS = ResolvedWeights(
    name="none",
    profile="none",
    architecture="",
    kind="none",
    provenance="The method starts from no pretrained weights.",
)
"""For methods that train from scratch, whatever ``--weights`` says."""
