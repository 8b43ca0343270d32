"""Data sets of patients with small-vessel disease or stroke."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import SEGMENTATION, Layout

VASCULAR = (
    Layout(
        "wmh2017",
        "WMH 2017: white-matter hyperintensities of presumed vascular origin, from five scanners at three sites",
        (
            r"(?P<site>Utrecht|Singapore|GE3T|GE1T5|Philips[^/]*)/(?P<scan>(?P<subject>\d+))/"
            r"(?P<kind>(?:(?:orig|pre)/)?(?:FLAIR|3DT1|T1)[^/]*|wmh|result)",
        ),
        {"pre/flair": "flair", "pre/t1": "t1", "flair": "flair", "t1": "t1", "wmh": SEGMENTATION},
        expected=("flair", "t1"),
        labels={1: "lesion", 2: "ignored"},
        abnormal=("lesion",),
        where="https://wmh.isi.uu.nl and DataverseNL, https://doi.org/10.34894/AECRSD",
        licence="CC BY-NC 4.0 (unverified)",
        citation="Kuijf et al., IEEE TMI 2019, 38(11):2556-2568",
        tree="training/{Utrecht,Singapore,Amsterdam/GE3T}/100/pre/{FLAIR,T1}.nii.gz and "
        "training/{Utrecht,Singapore,Amsterdam/GE3T}/100/wmh.nii.gz",
        notes="Label 2 is other pathology, a rough mask widened by a pixel that the challenge leaves out of its "
        "evaluation: such pixels count neither way. Images have a skull: strip those in pre, with 0 outside the brain; "
        "orig is not read. The site is the folder above the patient.",
    ),
    Layout(
        "isles2022",
        "ISLES 2022 training set: 250 patients with acute or subacute ischaemic stroke",
        (r"(?P<scan>(?P<subject>sub~strokecase\d+)~ses~(?P<time>\d+))~(?P<kind>dwi|adc|FLAIR|msk)",),
        {"dwi": "dwi", "adc": "adc", "flair": "flair", "msk": SEGMENTATION},
        expected=("flair", "dwi", "adc"),
        labels={1: "lesion"},
        grid="dwi",
        where="Zenodo, https://doi.org/10.5281/zenodo.7960856",
        licence="CC BY 4.0 (unverified)",
        citation="Hernandez Petzsche et al., Scientific Data 2022, 9:762",
        tree="ISLES-2022/sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_{dwi,adc}.nii.gz, "
        "ISLES-2022/sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz and "
        "ISLES-2022/derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
        notes="FLAIR has another grid than DWI, ADC and the mask: it is resampled to DWI's by its header, without "
        "registration. A scan that still shows a skull is refused.",
    ),
    Layout(
        "atlas",
        "ATLAS R2.0: 655 patients with chronic stroke, T1 in MNI space",
        (
            r"(?P<scan>(?P<subject>sub~(?P<site>r\d+)s\d+)~ses~(?P<time>\d+))~space~MNI152NLin2009aSym~"
            r"(?P<kind>T1w|label~L~desc~T1lesion~mask)",
        ),
        {"t1w": "t1", "label_l_desc_t1lesion_mask": SEGMENTATION},
        expected=("t1",),
        labels={1: "lesion"},
        where="https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html, encrypted; a form gives the password",
        licence="own data-use terms; no redistribution",
        citation="Liew et al., Scientific Data 2022, 9:320",
        tree="Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_"
        "{T1w,label-L_desc-T1lesion_mask}.nii.gz",
        notes="Published with skull, in MNI space: strip T1 first. Many chronic lesions are dark. 300 scans come "
        "without a mask and are left out. The site is the cohort, the number after r.",
    ),
)
"""Sets with vascular lesions."""
