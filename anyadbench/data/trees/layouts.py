"""Data-set layouts: how each release names its files, what its labels mean, and where to get it.

A layout is one table entry; ``LAYOUTS`` holds the built-in ones, and a plugin adds its own through the hook
``anyadbench_layouts``. The facts describe the releases as distributed, quirks included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from anyadbench.errors import UserError, suggest
from anyadbench.hashing import stable_hash
from anyadbench.sequences import SEQUENCES

REGIONS: dict[str, int] = {"core": 1, "oedema": 2, "enhancing": 3, "cavity": 4, "lesion": 5, "other": 255}
"""Label values in a store, the same for every data set; ``other`` is a label that the layout does not list."""

SEGMENTATION = "seg"
FOUR_D = "4d"
SKIP = ""
"""Kinds besides the sequences: the segmentation, an image of all channels, and a file that is not read."""

READERS: dict[str, str] = {
    "nifti": "anyadbench.data.trees.readers.volume_tree:NIFTI",
    "png": "anyadbench.data.trees.readers.png_tree:PNG",
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
        abnormal: Regions that are abnormal; ``None`` for every label above 0.
        channels: Sequences along the last axis of a 4D image.
        healthy: Whether every subject is healthy; the set then needs no segmentations.
        healthy_subjects: Regular expression of the subjects without a lesion in a set that has lesions, matched in any
            case against the whole name; ``~`` as in ``patterns``. They need no segmentation. Empty for none.
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
    expected: tuple[str, ...] = SEQUENCES
    labels: Mapping[int, str] = field(default_factory=dict)
    abnormal: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()
    healthy: bool = False
    healthy_subjects: str = ""
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
                case have different meanings, or ``healthy_subjects`` is no regular expression.
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
        unknown = sorted(regions - set(REGIONS)) + sorted(meanings - set(SEQUENCES))
        if unknown:
            raise ValueError(f"layout {self.name!r} uses the unknown name {unknown[0]!r}")
        if isinstance(self.reader, str) and self.reader not in READERS and ":" not in self.reader:
            known = f"{', '.join(READERS)} or a path 'package.module:object'"
            raise ValueError(f"layout {self.name!r} names the unknown tree reader {self.reader!r}; use {known}")
        try:
            re.compile(self.healthy_subjects.replace("~", "[_-]"))
        except re.error as error:
            cause = f"which is no regular expression ({error})"
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
        # An empty rule is left out, so that stores of layouts without one keep their identity.
        return stable_hash([*known, self.healthy_subjects] if self.healthy_subjects else known)


def get_layout(name: str, more: Sequence[Layout] = ()) -> Layout:
    """Return a layout by name, from the built-in ones and ``more``.

    Raises:
        UserError: If no layout has that name.
    """
    table = {layout.name: layout for layout in (*LAYOUTS.values(), *more)}
    if name not in table:
        raise UserError(f"Unknown data set {name!r}.{suggest(name, list(table))}")
    return table[name]


_OLD = {"flair": "flair", "t1": "t1", "t1ce": "t1ce", "t2": "t2", "seg": SEGMENTATION}
_NEW = {"t2f": "flair", "t1n": "t1", "t1c": "t1ce", "t2w": "t2", "seg": SEGMENTATION}
_UNTIL_2021 = {1: "core", 2: "oedema", 4: "enhancing"}
_SINCE_2023 = {1: "core", 2: "oedema", 3: "enhancing"}
_POST_OP = {**_SINCE_2023, 4: "cavity"}
_BRATS = "Menze et al., IEEE TMI 2015; Bakas et al., Scientific Data 2017 and arXiv:1811.02629"
_OLD_KIND = r"~(?P<kind>flair|t1ce|t1|t2|seg)"
_NEW_KIND = r"~(?P<kind>t2f|t1n|t1c|t2w|seg)"
_REGISTERED = "registration and a data-use agreement; no redistribution"


def _brats(name: str, title: str, scan: str, tree: str, **more: object) -> Layout:
    values: dict[str, object] = {
        "patterns": (scan + _OLD_KIND,),
        "kinds": _OLD,
        "labels": _UNTIL_2021,
        "where": "CBICA, University of Pennsylvania, after registration",
        "licence": _REGISTERED,
        "citation": _BRATS,
    }
    return Layout(name, title, tree=tree, **{**values, **more})  # type: ignore[arg-type]


_PHANTOM = _brats(
    "phantom",
    "The built-in phantom: ICBM 152 anatomy, signal equations, synthetic lesions",
    r"(?P<scan>(?P<subject>Phantom~[^/]+?))",
    "HGG/Phantom_001_1/Phantom_001_1_{flair,t1,t1ce,t2,seg}.nii.gz",
    where="made on this machine when first used",
    licence="ICBM 152 licence (free use with its copyright notice)",
    citation="Fonov et al., NeuroImage 2011",
    notes="Some subjects have no T1, T1ce or T2, as in real cohorts.",
)

_ENTRIES = (
    _brats(
        "brats2018",
        "BraTS 2018 training set: 285 patients with glioma before treatment",
        r"(?P<scan>(?P<subject>Brats18~[^/]+?))",
        "MICCAI_BraTS_2018_Data_Training/{HGG,LGG}/Brats18_CBICA_AQU_1/Brats18_CBICA_AQU_1_{flair,t1,t1ce,t2,seg}.nii.gz",
        notes="Label 3 is officially unused, but copies of BraTS 2013 cases contain it; any label above 0 is abnormal.",
    ),
    _brats(
        "brats2019",
        "BraTS 2019 training set: 335 patients with glioma before treatment",
        r"(?P<scan>(?P<subject>BraTS19~[^/]+?))",
        "MICCAI_BraTS_2019_Data_Training/{HGG,LGG}/BraTS19_2013_10_1/BraTS19_2013_10_1_{flair,t1,t1ce,t2,seg}.nii.gz",
        notes="Contains the cases of earlier years.",
    ),
    _brats(
        "brats2020",
        "BraTS 2020 training set: 369 patients with glioma before treatment",
        r"(?P<scan>(?P<subject>BraTS20~(?:Training|Validation)~\d+))",
        "MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii.gz",
        patterns=(
            r"(?P<scan>(?P<subject>BraTS20~(?:Training|Validation)~\d+))" + _OLD_KIND,
            r"(?P<scan>(?P<subject>BraTS20~Training~355))/W39[^/]*~(?P<kind>segm)",
        ),
        kinds={**_OLD, "segm": SEGMENTATION},
        notes="The segmentation of case 355 is called W39_1998.09.19_Segm.nii in the release and is read as such.",
    ),
    _brats(
        "brats2021",
        "BraTS 2021 training set: 1251 patients with glioma before treatment",
        r"(?P<scan>(?P<subject>BraTS2021~\d{5}))",
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_{flair,t1,t1ce,t2,seg}.nii.gz",
        where="TCIA, https://doi.org/10.7937/jc8x-9874",
        licence="CC BY 4.0 (TCIA release)",
        citation="Baid et al., arXiv:2107.02314; " + _BRATS,
        notes="Contains cases of BraTS 2017 to 2020 and of the Decathlon set under other names.",
    ),
    _brats(
        "brats2023",
        "BraTS 2023 GLI training set: the volumes of BraTS 2021 with new names and labels",
        r"(?P<scan>(?P<subject>BraTS~GLI~\d{5})~(?P<time>0\d\d))",
        "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-00000-000/"
        "BraTS-GLI-00000-000-{t2f,t1n,t1c,t2w,seg}.nii.gz",
        patterns=(r"(?P<scan>(?P<subject>BraTS~GLI~\d{5})~(?P<time>0\d\d))" + _NEW_KIND,),
        kinds=_NEW,
        labels=_SINCE_2023,
        where="Synapse syn51156910, after registration",
        licence="CC BY-NC",
        citation="Baid et al., arXiv:2107.02314; " + _BRATS,
    ),
    _brats(
        "brats2024",
        "BraTS 2024 GLI training set: patients with glioma after treatment",
        r"(?P<scan>(?P<subject>BraTS~GLI~\d{5})~(?P<time>[1-9]\d\d))",
        "training_data1/BraTS-GLI-02405-100/BraTS-GLI-02405-100-{t2f,t1n,t1c,t2w,seg}.nii.gz",
        patterns=(r"(?P<scan>(?P<subject>BraTS~GLI~\d{5})~(?P<time>[1-9]\d\d))" + _NEW_KIND,),
        kinds=_NEW,
        labels=_POST_OP,
        where="Synapse syn53708249, after registration",
        licence="CC BY-NC",
        citation="de Verdier et al., arXiv:2405.18368",
        notes="Label 4 is the resection cavity here, not enhancing tumour. May share patients with MU-Glioma-Post.",
    ),
    Layout(
        "msd01",
        "Medical Segmentation Decathlon, Task 01: 484 patients with glioma, four sequences in one 4D image",
        (r"(?P<kind>imagesTr|imagesTs|labelsTr)/(?P<scan>(?P<subject>BRATS~\d+))",),
        {"imagestr": FOUR_D, "labelstr": SEGMENTATION, "imagests": SKIP},
        labels={1: "oedema", 2: "core", 3: "enhancing"},
        channels=("flair", "t1", "t1ce", "t2"),
        where="http://medicaldecathlon.com, Task01_BrainTumour.tar",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., Nature Communications 2022",
        tree="Task01_BrainTumour/{imagesTr,labelsTr}/BRATS_001.nii.gz",
        notes="Derived from BraTS 2016 and 2017, so it overlaps the BraTS sets; labels 1 and 2 are swapped.",
    ),
    Layout(
        "mu",
        "MU-Glioma-Post: 203 patients with glioma after surgery, up to six time points",
        (
            r"(?P<scan>(?P<subject>PatientID~\d+)~Timepoint~(?P<time>\d+))~(?:brain~)?(?P<kind>t2f|t1n|t1c|t2w|tumorMask)",
        ),
        {**_NEW, "tumormask": SEGMENTATION},
        labels=_POST_OP,
        where="TCIA, https://doi.org/10.7937/7K9K-3C83",
        licence="CC BY 4.0",
        citation="MU-Glioma-Post, TCIA, doi:10.7937/7K9K-3C83; Scientific Data 2025, 12:1847",
        tree="PKG - MU-Glioma-Post/MU-Glioma-Post/PatientID_0003/Timepoint_1/"
        "PatientID_0003_Timepoint_1_{brain_t2f,brain_t1n,brain_t1c,brain_t2w,tumorMask}.nii.gz",
        notes="Label 4 is the resection cavity. Two time points have no mask, and 11 pairs of time points hold "
        "the same images under two patient ids.",
        known={
            "PatientID_0187_Timepoint_3": "as in the published release",
            "PatientID_0191_Timepoint_1": "as in the published release",
        },
    ),
    Layout(
        "pretreat",
        "Pretreat-MetsToBrain-Masks: 200 patients with brain metastases before treatment",
        (r"(?P<scan>(?P<subject>BraTS~MET~\d{5})~(?P<time>\d{3}))" + _NEW_KIND,),
        _NEW,
        labels=_SINCE_2023,
        where="TCIA, https://doi.org/10.7937/6be1-r748",
        licence="open, under the terms of its TCIA page (probably CC BY 4.0; unverified)",
        citation="Ramakrishnan et al., Pretreat-MetsToBrain-Masks, version 1, TCIA 2023, doi:10.7937/6be1-r748",
        tree="PKG - Pretreat-MetsToBrain-Masks/Pretreat-MetsToBrain-Masks/BraTS-MET-00086-000/"
        "BraTS-MET-00086-000-{t2f,t1n,t1c,t2w,seg}.nii.gz",
        notes="Readers disagree on the order of the labels; the region names follow BraTS-METS and are unverified.",
    ),
    Layout(
        "mslub",
        "MSLUB: 30 patients with multiple sclerosis, consensus of three raters",
        (
            r"(?P<scan>(?P<subject>patient~?\d+))/(?:patient~?\d+~)?"
            r"(?P<kind>FLAIR|T1WKS|T1W|T1|T2W|T2|consensus~gt|gold~standard|brainmask)",
        ),
        {
            "flair": "flair",
            "t1": "t1",
            "t1w": "t1",
            "t1wks": "t1ce",
            "t2": "t2",
            "t2w": "t2",
            "consensus_gt": SEGMENTATION,
            "gold_standard": SEGMENTATION,
            "brainmask": SKIP,
        },
        expected=("flair", "t1", "t2"),
        labels={1: "lesion"},
        where="https://github.com/muschellij2/open_ms_data (cross-sectional part)",
        licence="CC BY",
        citation="Lesjak et al., Neuroinformatics 2018, 16:51-63",
        tree="MNI/patient01/[patient01_]{FLAIR,T1W,T2W,consensus_gt}.nii.gz, or "
        "patient01/{FLAIR,T1,T2,GOLD_STANDARD}.nii.gz",
        notes="Give one of raw, coregistered, coregistered_resampled or MNI. The images have a skull unless stripped; "
        "T1WKS (after contrast) is read as t1ce.",
    ),
    Layout(
        "ixi",
        "IXI: about 600 healthy adults; no FLAIR",
        (r"(?P<scan>(?P<subject>IXI\d+)~(?P<site>[A-Z]+)?[^/]*?)~(?P<kind>T1|T2|PD|MRA|DTI(?:~\d+)?|seg)",),
        {"t1": "t1", "t2": "t2", "pd": SKIP, "mra": SKIP, "dti": SKIP, "seg": SEGMENTATION},
        expected=("t1", "t2"),
        healthy=True,
        where="https://brain-development.org/ixi-dataset",
        licence="CC BY-SA 3.0",
        citation="IXI data set, Information eXtraction from Images project, brain-development.org",
        tree="IXI-T1/IXI002-Guys-0828-T1.nii.gz, IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        notes="Published with skull and with T1 and T2 on different grids: register and strip both, or use only one.",
    ),
    _PHANTOM,
    replace(
        _PHANTOM,
        name="phantom-shift",
        title="The built-in phantom with other heads, another scanner, and small plaques in place of tumours",
        notes="Only tested on; its files are named as those of the data set phantom.",
    ),
    Layout(
        "anyad-png",
        "Tree of 8-bit PNG slices as read by the AnyAD release",
        (
            r"(?P<part>train|test/NORMAL|test/ABNORMAL)/(?P<kind>flair|t1ce|t1|t2|mask)/"
            r"(?P<scan>(?P<subject>[^/.]+?)(?:~Timepoint~(?P<time>\d+))?)~slice(?P<slice>\d+)(?:~mask)?",
        ),
        {**{name: name for name in SEQUENCES}, "mask": SEGMENTATION},
        expected=("flair", "t1", "t2"),
        labels={255: "lesion"},
        where="made from a data set by the user; the release ships neither data nor the code that cuts the slices",
        licence="that of the source data set",
        citation="AnyAD, arXiv:2512.21264",
        tree="train/{flair,t1,t2}/ID.png, test/NORMAL/{flair,t1,t2}/ID.png, test/ABNORMAL/{flair,t1,t2}/ID.png, "
        "test/ABNORMAL/mask/ID_mask.png; ID is SUBJECT[_Timepoint_N]_sliceK",
        notes="Masks hold 0 and 255. Each slice is scaled to 8 bits on its own, so the scan's scale is lost.",
        reader="png",
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ENTRIES}
"""The built-in layouts by name."""
