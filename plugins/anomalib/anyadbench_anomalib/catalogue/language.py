"""Models that compare images with sentences about them and, optionally, with normal images."""

from __future__ import annotations

from anyadbench_anomalib.catalogue.entry import Model, own

LANGUAGE = (
    Model(
        name="winclip",
        cls="WinClip",
        fixed=("clip.",),
        title="WinCLIP",
        summary="Compares windows of an image with sentences about it, and with windows of a few normal images.",
        citation='Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023, '
        "arXiv 2303.14814.",
        size=240,
        multiple=16,
        least=240,
        most=240,
        own=(
            own("class_name", "", "Name, in the sentences, of what an image shows; empty for anomalib's 'object'"),
            own("k_shot", 0, "Normal slices for comparison with windows, 0 for sentences alone", 0),
            own("scales", "2,3", "Sides of the windows in patches of 16 pixels, separated by commas"),
        ),
        tiny={"batch_size": 4, "scales": "1"},
        demo={"batch_size": 8, "scales": "1"},
        departures=(
            "With k_shot=0, anomalib's default, the model learns nothing from the training normals.",
            "The k_shot normal slices are the first of the store, which may be neighbours in one scan; anomalib draws "
            "them from its shuffled training set.",
            "Pixels are normalised by CLIP's mean and deviation; anomalib's resizing for CLIP is bicubic, with "
            "antialiasing.",
            "Patches attend only to their own window with every release of open-clip-torch; with 2.26.1 and later, "
            "which anomalib does not require, its code would mix windows and images.",
        ),
        files={
            "vit_b_16_plus_240-laion400m_e31-8fb26589.pt": "open_clip's weights laion400m_e31 of ViT-B-16-plus-240, "
            "which the package open-clip-torch reads"
        },
    ),
)
