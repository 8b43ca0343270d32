"""Data sets of patients with multiple sclerosis."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import SEGMENTATION, SKIP, Layout

_MSSEG = r"(?P<site>Center~\d+)/Patient~\d+))/(?P<kind>(?:Preprocessed~Data|Raw~Data|Masks)/[^/]+)"

SCLEROSIS = (
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
        "msseg",
        "MSSEG 2016: 53 patients with multiple sclerosis on four scanners, consensus of seven raters",
        (
            r"(?P<scan>(?P<subject>(?:Training|Testing)/" + _MSSEG,
            r"(?P<scan>(?P<subject>" + _MSSEG,
        ),
        {
            "preprocessed_data/flair_preprocessed": "flair",
            "preprocessed_data/t1_preprocessed": "t1",
            "preprocessed_data/gado_preprocessed": "t1ce",
            "preprocessed_data/t2_preprocessed": "t2",
            "preprocessed_data/dp_preprocessed": "pd",
            "masks/consensus": SEGMENTATION,
        },
        expected=("flair", "t1", "t1ce", "t2", "pd"),
        labels={1: "lesion"},
        where="https://shanoir.irisa.fr (MSSEG 2016), after registration",
        licence="registration; research use only, no redistribution",
        citation="Commowick et al., NeuroImage 2021, 244:118589",
        tree="Training/Center_01/Patient_01/Preprocessed_Data/{FLAIR,T1,GADO,T2,DP}_preprocessed.nii.gz and "
        "Training/Center_01/Patient_01/Masks/Consensus.nii.gz",
        notes="The preprocessed images are read: stripped and on one grid. Raw_Data, the brain mask and the single "
        "raters are not. Patients are counted from 1 in each centre. GADO is T1 after contrast, DP is proton density.",
    ),
)
"""Sets with multiple sclerosis."""
