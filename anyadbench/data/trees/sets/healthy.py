"""Data sets of people without lesions."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import SEGMENTATION, SKIP, Layout

HEALTHY = (
    Layout(
        "ixi",
        "IXI: about 600 healthy adults; no FLAIR",
        (r"(?P<scan>(?P<subject>IXI\d+)~(?P<site>[A-Z]+)?[^/]*?)~(?P<kind>T1|T2|PD|MRA|DTI(?:~\d+)?|seg)",),
        {"t1": "t1", "t2": "t2", "pd": "pd", "mra": SKIP, "dti": SKIP, "seg": SEGMENTATION},
        expected=("t1", "t2"),
        healthy=True,
        where="https://brain-development.org/ixi-dataset",
        licence="CC BY-SA 3.0",
        citation="IXI data set, Information eXtraction from Images project, brain-development.org",
        tree="IXI-T1/IXI002-Guys-0828-T1.nii.gz, IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        notes="Published with skull and with T1 and T2 on different grids: register and strip both, or use only one.",
    ),
    Layout(
        "oasis",
        "OASIS-1: 416 people of 18 to 96 years, T1 in Talairach space",
        (
            r"(?P<scan>(?P<subject>OAS1~\d+)~MR(?P<time>\d+))~mpr~n\d~anon~111~t88~(?P<kind>masked~gfc)",
            r"(?P<scan>(?P<subject>OAS1~\d+)~MR(?P<time>\d+))~(?P<kind>mpr)[^/]*",
        ),
        {"masked_gfc": "t1", "mpr": SKIP},
        expected=("t1",),
        reader="oasis",
        where="https://sites.wustl.edu/oasisbrains (OASIS-1 cross-sectional), after registration",
        licence="own data-use terms; no redistribution",
        citation="Marcus et al., Journal of Cognitive Neuroscience 2007, 19(9):1498-1507",
        tree="disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.{hdr,img}, and "
        "oasis_cross-sectional.csv",
        notes="Analyze 7.5 pairs, which do not define an orientation; the axes of this release are known. The table of "
        "the release gives age, sex and the dementia rating: a rating above 0 leaves a person out. Some people were "
        "scanned twice (MR2). T1 only.",
    ),
)
"""Sets of healthy people."""
