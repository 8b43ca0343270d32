"""One entry of the table of data sets: how a release names its files, what its labels mean, and where to get it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from anyadbench.hashing import stable_hash
from anyadbench.sequences import COMMON, SEQUENCES

REGIONS: dict[str, int] = {
    "core": 1,
    "oedema": 2,
    "enhancing": 3,
    "cavity": 4,
    "lesion": 5,
    "ignored": 254,
    "other": 255,
}
"""Label values in a store, the same for every data set.

``ignored`` is pathology that a release excludes from its evaluation: neither lesion nor normal. ``other`` is a label
that the layout does not list.
"""

SEGMENTATION = "seg"
FOUR_D = "4d"
SKIP = ""
"""Kinds besides the sequences: the segmentation, an image of all channels, and a file that is not read."""

READERS: dict[str, str] = {
    "nifti": "anyadbench.data.trees.readers.volume_tree:NIFTI",
    "png": "anyadbench.data.trees.readers.png_tree:PNG",
    "bids": "anyadbench.data.trees.readers.bids_tree:BIDS",
    "oasis": "anyadbench.data.trees.readers.oasis_tree:OASIS",
    "arrays": "anyadbench.data.trees.readers.array_tree:ARRAYS",
    "boxes": "anyadbench.data.trees.readers.box_tree:BOXES",
}
"""Names that a layout may call a tree reader by, and where each is; see ``anyadbench.data.trees.reader``."""


class NamedReader(Protocol):
    """What a layout itself needs of a tree reader that it holds: an ``anyadbench.data.trees.reader.TreeReader``."""

    name: str


@dataclass(frozen=True)
class Layout:
    """How one release is laid out on disk.

    Attributes:
        name: Name on the command line.
        title: One line.
        patterns: Regular expressions, matched in any case against the end of a path without its suffix, such as
            ``.nii.gz``; ``~`` matches ``_`` or ``-``. Named groups: ``scan``, ``subject``, ``kind``; ``time`` where a
            subject has several scans; ``site`` where a name has it.
        kinds: Meaning of each ``kind``, in any case: a sequence, ``seg``, ``4d``, or empty for an ignored file.
        expected: Sequences of a complete scan.
        labels: Region of ``REGIONS`` for each label value above 0.
        abnormal: Regions that are abnormal; ``None`` for every label above 0. If given, a label that the layout does
            not list excludes a scan.
        channels: Sequences along the last axis of a 4D image.
        healthy: Whether every subject is healthy; the set then needs no segmentations.
        healthy_subjects: Regular expression of the subjects without a lesion in a set that has lesions, matched in any
            case against the whole name; ``~`` as in ``patterns``. They need no segmentation. Empty for none.
        grid: Sequence to whose grid the others are resampled by their headers; empty if all must have one grid.
        general: Whether it fits trees of other layouts too; it is then recognised only where no other one fits.
        where: Where to get it.
        licence: Terms of use.
        citation: What to cite.
        tree: Expected tree, as text.
        notes: What a user should know.
        known: Sentences' ends for scans with a known fault, e.g. a segmentation that was never published.
        reader: Tree reader: a name in ``READERS``, a path ``package.module:object``, or the reader itself.
    """

    name: str
    title: str
    patterns: tuple[str, ...]
    kinds: Mapping[str, str]
    expected: tuple[str, ...] = COMMON
    labels: Mapping[int, str] = field(default_factory=dict)
    abnormal: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()
    healthy: bool = False
    healthy_subjects: str = ""
    grid: str = ""
    general: bool = False
    where: str = ""
    licence: str = ""
    citation: str = ""
    tree: str = ""
    notes: str = ""
    known: Mapping[str, str] = field(default_factory=dict)
    reader: str | NamedReader = "nifti"

    def __post_init__(self) -> None:
        """Refuse unknown names, and put the kinds into lower case.

        Raises:
            ValueError: If a region, sequence, kind or tree reader is unknown, two kinds that differ only in their
                case have different meanings, ``healthy_subjects`` is not a regular expression, or a label is ignored
                where every label is abnormal.
        """
        lower: dict[str, str] = {}
        for kind, meaning in self.kinds.items():
            if lower.setdefault(kind.lower(), meaning) != meaning:
                both = f"{lower[kind.lower()]!r} and {meaning!r}"
                fix = "kinds are matched in any case, so keep one"
                raise ValueError(f"layout {self.name!r} gives the kind {kind!r} two meanings, {both}; {fix}")
        object.__setattr__(self, "kinds", lower)
        regions = set(self.labels.values()) | set(self.abnormal or ())
        meanings = set(self.kinds.values()) - {SEGMENTATION, FOUR_D, SKIP} | set(self.channels) | set(self.expected)
        meanings |= {self.grid} - {""}
        unknown = sorted(regions - set(REGIONS)) + sorted(meanings - set(SEQUENCES))
        if unknown:
            known = f"regions are {', '.join(REGIONS)}, sequences {', '.join(SEQUENCES)}"
            raise ValueError(f"layout {self.name!r} uses the unknown name {unknown[0]!r}; {known}")
        if "ignored" in self.labels.values() and (self.abnormal is None or "ignored" in self.abnormal):
            raise ValueError(f"layout {self.name!r} ignores a label that is abnormal; list the abnormal regions")
        if isinstance(self.reader, str) and self.reader not in READERS and ":" not in self.reader:
            known = f"{', '.join(READERS)} or a path 'package.module:object'"
            raise ValueError(f"layout {self.name!r} names the unknown tree reader {self.reader!r}; use {known}")
        try:
            re.compile(self.healthy_subjects.replace("~", "[_-]"))
        except re.error as error:
            cause = f"which is not a regular expression ({error})"
            raise ValueError(f"layout {self.name!r} has healthy_subjects {self.healthy_subjects!r}, {cause}") from None

    @cached_property
    def regexes(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, compiled."""
        return tuple(
            re.compile(r"(?:^|.*/)" + pattern.replace("~", "[_-]"), re.IGNORECASE) for pattern in self.patterns
        )

    def match(self, stem: str) -> re.Match[str] | None:
        """Match a path with forward slashes and without its suffix against the patterns."""
        return next((found for regex in self.regexes if (found := regex.fullmatch(stem))), None)

    def is_healthy(self, subject: str) -> bool:
        """Whether a subject has no lesion, as far as the layout says."""
        rule = self.healthy_subjects.replace("~", "[_-]")
        return self.healthy or bool(rule and re.fullmatch(rule, subject, re.IGNORECASE))

    @property
    def fingerprint(self) -> str:
        """Hash of everything in the layout that changes what is stored."""
        labels = {str(value): region for value, region in self.labels.items()}
        abnormal = None if self.abnormal is None else list(self.abnormal)
        kinds = dict(self.kinds)
        reader = self.reader if isinstance(self.reader, str) else self.reader.name
        names = [list(self.patterns), kinds, list(self.channels), reader]
        known = [self.name, names, labels, abnormal, self.healthy]
        # What is empty is left out, so that stores of layouts without it keep their identity.
        known += [self.healthy_subjects] if self.healthy_subjects else []
        return stable_hash([*known, {"grid": self.grid}] if self.grid else known)
