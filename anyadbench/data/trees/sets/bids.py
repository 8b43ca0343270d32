"""Any data set in the Brain Imaging Data Structure (BIDS)."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import SEGMENTATION, Layout

BIDS = (
    Layout(
        "bids",
        "Any data set in BIDS, with lesion masks under derivatives",
        (
            r"(?P<subject>sub-[a-z0-9]+)/(?:ses-(?P<time>[a-z0-9]+)/)?anat/"
            r"(?P<scan>sub-[a-z0-9]+(?:_ses-[a-z0-9]+)?)(?P<entities>(?:_[a-z]+-[a-z0-9]+)*)_"
            r"(?P<kind>[a-z0-9]+)",
            r"(?P<scan>(?P<subject>sub-[a-z0-9]+))/(?:ses-[a-z0-9]+/)?(?P<kind>func|dwi|fmap|perf|pet|eeg|meg)/[^/]+",
        ),
        {
            "flair": "flair", "t1w": "t1", "t2w": "t2", "pdw": "pd",
            "mask": SEGMENTATION, "roi": SEGMENTATION, "dseg": SEGMENTATION,
        },
        expected=(),
        labels={1: "lesion"},
        general=True,
        reader="bids",
        where="for example https://openneuro.org",
        licence="that of the data set",
        citation="Gorgolewski et al., Scientific Data 2016, 3:160044; and the data set",
        tree="sub-01/[ses-1/]anat/sub-01_[ses-1_][ce-gd_]{T1w,T2w,FLAIR,PDw}.nii.gz, "
        "derivatives/lesions/sub-01/[ses-1/]anat/sub-01_[ses-1_]label-lesion_mask.nii.gz, and participants.tsv",
        notes="T1w with ce- is T1ce. Of several runs the first by name is read. Masks are files mask, roi or dseg, "
        "except those whose label or desc names no lesion. Images under derivatives are read only if there are no "
        "others. participants.tsv gives age, sex, site and, in a column group or diagnosis, who is a healthy control; "
        "everybody else needs a mask. The images of a scan must be registered to each other and stripped.",
    ),
)  # fmt: skip
"""BIDS."""
