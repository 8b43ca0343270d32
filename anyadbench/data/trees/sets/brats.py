"""The BraTS releases, sets in their naming, the Decathlon's brain tumours, and the phantom, which borrows it."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.data.trees.sets.layout import FOUR_D, SEGMENTATION, SKIP, Layout

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
    notes="Some subjects lack a sequence, as in real cohorts; those called Phantom-H are healthy.",
    healthy_subjects="Phantom~H~.+",
)

TUMOURS = (
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
        "mets",
        "BraTS-METS 2023 training set: patients with brain metastases before treatment",
        (r"(?P<scan>(?P<subject>BraTS~MET~\d{5})~(?P<time>\d{3}))" + _NEW_KIND,),
        _NEW,
        labels=_SINCE_2023,
        where="Synapse syn51156910, after registration",
        licence="CC BY-NC",
        citation="Moawad et al., arXiv:2306.00838",
        tree="ASNR-MICCAI-BraTS2023-MET-Challenge-TrainingData/BraTS-MET-00002-000/"
        "BraTS-MET-00002-000-{t2f,t1n,t1c,t2w,seg}.nii.gz",
        notes="Contains the cases of Pretreat-MetsToBrain-Masks under the same names. Case 00232 has a damaged T2 in "
        "the release, which is sent separately; without it the scan is left out.",
    ),
    Layout(
        "ped",
        "BraTS-PEDs: children with high-grade glioma",
        (r"(?P<scan>(?P<subject>BraTS~PED~\d{5})~(?P<time>\d{3}))" + _NEW_KIND,),
        _NEW,
        labels={1: "enhancing", 2: "core", 3: "core", 4: "oedema"},
        where="Synapse syn51156910 (2023) and syn53708249 (2024), after registration",
        licence="CC BY-NC",
        citation="Kazerooni et al., arXiv:2305.17033 and arXiv:2404.15009",
        tree="BraTS-PED-00002-000/BraTS-PED-00002-000-{t2f,t1n,t1c,t2w,seg}.nii.gz",
        notes="Labels as in 2024: 1 enhancing, 2 non-enhancing, 3 cystic, 4 oedema. The release of 2023 has labels up "
        "to 3 in another order, so region names hold for 2024 alone; any label above 0 is abnormal in both.",
    ),
)
"""Sets with brain tumours."""

PHANTOMS = (
    _PHANTOM,
    replace(
        _PHANTOM,
        name="phantom-shift",
        title="The built-in phantom with other heads, another scanner, and small plaques alone",
        notes="Only tested on; its files are named as those of the data set phantom.",
    ),
    replace(
        _PHANTOM,
        name="phantom-dev",
        title="The built-in phantom with other heads, the only one on which anything may be chosen",
        notes="Of no board; its files are named as those of the data set phantom.",
    ),
)
"""The embedded data sets, in the naming of BraTS 2018."""
