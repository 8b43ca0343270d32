"""Data sets of slices instead of volumes."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import FOUR_D, SEGMENTATION, Layout
from anyadbench.sequences import COMMON

_PARTS = {"train": FOUR_D, "test": FOUR_D, "eval": FOUR_D}

SLICES = (
    Layout(
        "anyad-png",
        "Tree of 8-bit PNG slices as read by the AnyAD release",
        (
            r"(?P<part>train|test/NORMAL|test/ABNORMAL)/(?P<kind>flair|t1ce|t1|t2|mask)/"
            r"(?P<scan>(?P<subject>[^/.]+?)(?:~Timepoint~(?P<time>\d+))?)~slice(?P<slice>\d+)(?:~mask)?",
        ),
        {**{name: name for name in COMMON}, "mask": SEGMENTATION},
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
    Layout(
        "brisc",
        "BRISC as in Brain-OmniA: T1 pictures of brain tumours in three planes, stripped, one array each",
        (r"(?P<set>BRISC)[^/]*/(?P<kind>[^/]+)/(?P<slice>\d+)",),
        _PARTS,
        expected=("t1",),
        labels={1: "lesion"},
        reader="arrays",
        where="https://huggingface.co/datasets/ZhangqiSJTU/Brain-OmniA; the pictures: BRISC 2025 on Kaggle",
        licence="CC BY 4.0 (BRISC; unverified), and that of Brain-OmniA",
        citation="Fateh et al., BRISC, arXiv:2506.14318; Zhang et al., UniTransAD, IEEE TMI 2026",
        tree="BRISC/{train,test}/1.npy, channels T1 and label",
        notes="Each picture counts as a subject, though some come from one patient, and axial, coronal and sagittal "
        "ones are mixed. The pictures of the segmentation task show tumours throughout, so normal slices must come "
        "from elsewhere. The division of Brain-OmniA (90 % train, which it evaluates on) is not kept.",
    ),
    Layout(
        "brain-omnia",
        "Brain-OmniA: seven sets as arrays of slices, as prepared for UniTransAD",
        (r"(?P<set>BraTS2021|MSD|MSLUB|ISLES(?:2022)?|WMH(?:2017)?|IXI|BRISC)/(?P<kind>[^/]+)/(?P<slice>\d+)",),
        _PARTS,
        expected=(),
        labels={1: "lesion"},
        healthy_subjects="IXI.*",
        reader="arrays",
        where="https://huggingface.co/datasets/ZhangqiSJTU/Brain-OmniA",
        licence="none stated; that of the source sets",
        citation="Zhang et al., UniTransAD, IEEE TMI 2026, 45(9):4876-4891",
        tree="{BraTS2021,MSD,MSLUB,ISLES,WMH,IXI,BRISC}/{train,test,eval}/1.npy",
        notes="The folder of a set says what its channels are. Slices 50 to 109 of each subject; files are numbered "
        "through the subjects. Folders such as train_normal and train_normal_edge hold copies and are not read. Its "
        "division is not kept: subjects are split again. Any label above 0 is a lesion.",
    ),
    Layout(
        "nova",
        "NOVA: 906 pictures of 281 rare diseases, with boxes of two raters; only for evaluation",
        (r"(?P<kind>images)/(?P<scan>(?P<subject>case\d+)~\d+)",),
        {"images": FOUR_D},
        expected=(),
        channels=("flair", "t1", "t2"),
        reader="boxes",
        where="https://huggingface.co/datasets/c-i-ber/Nova",
        licence="CC BY-NC-SA 4.0 by its page, CC BY 4.0 by its croissant.json",
        citation="Bercea et al., NOVA, arXiv:2505.14064 (NeurIPS 2025)",
        tree="images/case0001_001.png and bboxes_gold.csv with filename, x, y, width, height in pixels",
        notes="Boxes instead of masks, so rows have numbers of boxes and no pixel metric. The table does not say which "
        "sequence a picture shows: each is stored as FLAIR, T1 and T2, and shown as what the row says. The skull is "
        "visible, and is not stripped.",
    ),
)
"""Trees of slices."""
