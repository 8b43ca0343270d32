"""Training on few subjects: which ones the seed of a run chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyadbench.data.slices.rules import HEALTHY
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray

    from anyadbench.data.store.store import SliceStore


@dataclass(frozen=True)
class Shots:
    """A request for few training subjects.

    Attributes:
        count: How many.
        seed: Seed of the run.
        salt: Text that is hashed with the seed, as for the split.
        sequences: Sequences of the protocol.
    """

    count: int
    seed: int
    salt: str
    sequences: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """The training subjects that a seed chooses, and those that it chooses from.

    Attributes:
        seed: Seed of the run.
        subjects: The chosen ones, in the order of their choice.
        complete: Candidates whose training slices show every sequence of the protocol, sorted.
        incomplete: The other candidates, sorted.
    """

    seed: int
    subjects: tuple[str, ...]
    complete: tuple[str, ...]
    incomplete: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """Return the choice as plain values, from which it can be made again."""
        lists = {name: list(getattr(self, name)) for name in ("subjects", "complete", "incomplete")}
        return {"seed": self.seed, **lists}


def choose_subjects(
    complete: Iterable[str], incomplete: Iterable[str], count: int, seed: int, salt: str
) -> tuple[str, ...]:
    """Return the first subjects in an order that depends on seed, salt and name alone.

    Subjects that show every sequence come before the others, each group in the order of a hash. So a smaller choice
    lies inside a larger one, a subject more or less in the data set moves no other, and no random generator takes part.

    Args:
        complete: Candidates that show every sequence.
        incomplete: The other candidates.
        count: How many to choose.
        seed: Seed of the run.
        salt: Text of the protocol's split.
    """

    def place(name: str) -> tuple[str, str]:
        return stable_hash([salt, "shots", seed, name]), name

    return (*sorted(set(complete), key=place), *sorted(set(incomplete), key=place))[:count]


def few_subjects(
    store: SliceStore, train: Int[ndarray, " t"], shots: Shots, normals: str
) -> tuple[Int[ndarray, " s"], Chosen]:
    """Keep the training slices of few subjects.

    Args:
        store: The slices.
        train: Indices of the training normals of all subjects.
        shots: How many subjects, and what chooses them.
        normals: Source of the training normals.

    Raises:
        UserError: If fewer subjects have a training slice that shows any of the sequences.
    """
    import numpy as np

    table = store.slices
    places = {str(scan): place for place, scan in enumerate(store.scans.index)}
    has = store.availability(shots.sequences)[[places[str(scan)] for scan in table["scan"].iloc[train]]]
    names = table["subject"].astype(str).to_numpy()[train]
    usable, complete = set(names[has.any(1)].tolist()), set(names[has.all(1)].tolist())
    chosen = choose_subjects(complete, usable - complete, shots.count, shots.seed, shots.salt)
    if len(chosen) < shots.count:
        raise UserError(_too_few(store, shots, len(usable), normals))
    found = Chosen(shots.seed, chosen, _sorted(complete), _sorted(usable - complete))
    return np.asarray(train[np.isin(names, chosen)]), found


def _sorted(names: Sequence[str] | set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _too_few(store: SliceStore, shots: Shots, found: int, normals: str) -> str:
    subjects = "subject" if shots.count == 1 else "subjects"
    whose, key = ("healthy ", "split.healthy.train") if normals == HEALTHY else ("", "split.train")
    slices = "a slice to train on" if normals == HEALTHY else "a lesion-free slice to train on"
    return (
        f"The protocol trains on {shots.count} {subjects} (train.shots), but {found} {whose}training "
        f"subject{'' if found == 1 else 's'} of {store.dataset} in {store.path} {'has' if found == 1 else 'have'} "
        f"{slices}; lower train.shots, raise {key}, or add subjects."
    )


def check_choice(found: Mapping[str, Any], count: int, seed: int, salt: str, training: Iterable[str]) -> str:
    """Return what is wrong with a choice as it is stored in a manifest, or an empty text.

    Args:
        found: Result of ``Chosen.manifest``, of unknown origin.
        count: Subjects that the protocol trains on.
        seed: Seed of the run.
        salt: Text of the protocol's split.
        training: Subjects of the training part.
    """
    try:
        complete, incomplete = list(found["complete"]), list(found["incomplete"])
        strangers = sorted({*complete, *incomplete} - set(training))
        wanted = list(choose_subjects(complete, incomplete, count, seed, salt))
    except (KeyError, TypeError):
        return "does not say which training subjects the seed chose."
    if found.get("seed") != seed:
        return f"chose its training subjects with seed {found.get('seed')}, but the seed of the run is {seed}."
    if strangers:
        return f"chose among {strangers[0]}, which is not a training subject of the split."
    if len(wanted) != count or found.get("subjects") != wanted:
        listed = ", ".join(map(str, found.get("subjects") or ["none"]))
        return f"trains on {listed}, but seed {seed} chooses {', '.join(wanted)}."
    return ""
