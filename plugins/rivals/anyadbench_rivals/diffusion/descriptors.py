"""Descriptors of the diffusion models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anyadbench.api import DEMO_SLICES, MethodDescriptor, Param, Value
from anyadbench_rivals.parameters import image_size, positive, whole

_AN = "test_args/args28.json of Julian-Wyatt/AnoDDPM"
_TR = "diffusion_training.py of Julian-Wyatt/AnoDDPM"
_GD = "GaussianDiffusion.py of Julian-Wyatt/AnoDDPM"
_PD = "DDPM_patched.yaml of FinnBehrendt/patched-Diffusion-Models-UAD"

_SMALL: Mapping[str, Mapping[str, Value]] = {
    "tiny": {
        "image_size": 32,
        "batch_size": 2,
        "steps": 2,
        "width": 8,
        "multiples": "1-2",
        "blocks": 1,
        "attention": 0,
        "timesteps": 20,
        "train_steps": 20,
        "start": 4,
        "period": 8.0,
        "ema": 0.5,
    },
    "demo": {
        "image_size": 64,
        "batch_size": 8,
        "steps": DEMO_SLICES // 8,
        "width": 16,
        "multiples": "1-2-2",
        "blocks": 1,
        "attention": 1,
        "timesteps": 40,
        "train_steps": 32,
        "start": 10,
        "period": 16.0,
        "lr": 1e-3,
        "ema": 0.9,
    },
}

_CHANNELS = (
    "Sequences are channels; training hides random ones, the network knows which are shown, and loss and map average "
    "over them. The publication has"
)
_DEMO_DEPARTURE = (
    f"Under the demo budget the network is hundreds of times smaller and sees {DEMO_SLICES} slices instead of hundreds "
    "of thousands: the row is weak there, and shows only that the method runs."
)

DDPM = MethodDescriptor(
    name="ddpm",
    title="AnoDDPM",
    summary="Noises slices part of the way with simplex noise, denoises them as normal ones, and compares.",
    factory="anyadbench_rivals.diffusion.method:Diffusion",
    params=(
        image_size(256, _AN, 32),
        whole("batch_size", 1, f"Slices per step; {_AN}."),
        whole("steps", 300000, f"Training steps; {_AN} and {_TR}: 3000 passes of 100 slices."),
        whole("width", 128, f"Channels of the finest level; {_AN}.", 8),
        Param(
            "multiples",
            "1-1-2-2-4-4",
            "Channels of each level in multiples of width; UNet.py of Julian-Wyatt/AnoDDPM for 256 pixels.",
            choices=("1-2", "1-2-2", "1-1-2-3-4", "1-1-2-2-4-4"),
        ),
        whole("blocks", 2, "Residual blocks per level; UNet.py of Julian-Wyatt/AnoDDPM."),
        whole("attention", 2, f"Coarsest levels with attention, at 16 and 8 pixels; {_AN}.", 0),
        whole("heads", 2, f"Attention heads; {_AN}."),
        whole("timesteps", 1000, f"Steps of the diffusion; {_AN}.", 2),
        Param("schedule", "linear", f"How noise grows, linear or cosine; {_AN}.", choices=("linear", "cosine")),
        whole("train_steps", 800, f"Steps that training draws from, the first ones; {_AN} (sample_distance)."),
        whole("start", 250, "Steps to which a slice is noised for scoring; detection.py of Julian-Wyatt/AnoDDPM."),
        Param("noise", "simplex", f"Noise, simplex or gauss; {_AN}.", choices=("simplex", "gauss")),
        whole("octaves", 6, f"Octaves of the simplex noise; {_GD}."),
        Param("persistence", 0.8, f"Amplitude of each octave relative to the last; {_GD}.", minimum=0, maximum=1),
        Param("period", 64.0, f"Pixels per cell of the first octave, for 256; {_GD} (frequency).", minimum=1),
        Param(
            "objective",
            "noise",
            f"What the network predicts: noise, and scoring denoises step by step ({_GD}), or slice, and scoring "
            f"predicts once ({_PD}).",
            choices=("noise", "slice"),
        ),
        whole("patch", 0, f"Side of the patches that are noised one at a time, 0 for none; {_PD}.", 0),
        Param("loss", "l2", f"Loss, l2 or l1; {_AN}.", choices=("l2", "l1")),
        positive("lr", 1e-4, f"Learning rate of AdamW; {_AN}."),
        positive("clip_norm", 1.0, f"Total gradient norm to clip to, 0 for none; {_TR}."),
        Param("ema", 0.9999, f"Decay of the averaged weights that score, 0 for the last; {_TR}.", minimum=0, maximum=1),
        Param("residual", "l2", f"Map of the difference, l2 or l1; {_GD}.", choices=("l2", "l1")),
        Param("median_size", 1, "Side of the median filter of the map, 1 for none; choice.", choices=(1, 3, 5, 7)),
        Param(
            "image_score", "top", "Image score: top (mean of the highest 1 %) or max; choice.", choices=("top", "max")
        ),
    ),
    budgets=_SMALL,
    training_mask="per-sample",
    missing="native",
    citation='Wyatt et al., "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models using Simplex '
    'Noise", CVPR Workshops 2022.',
    code_licence="MIT",
    departures=(
        f"{_CHANNELS} T1 alone.",
        "Simplex noise is drawn in the plane, new for each slice and sequence; the publication takes a plane of "
        "three-dimensional noise at the height of the step, and its default seed is drawn once per process.",
        "All slices are scored with the same fields of noise, so that a score depends on its slice alone.",
        "The averaged weights lack the last step.",
        "There is no threshold of 0.5 on the squared residual, and the image score is a choice.",
        "Under the demo budget a diffusion has 40 steps and scoring goes back through 10 of them, a quarter as in the "
        "publication, for the cost of scoring.",
        _DEMO_DEPARTURE,
    ),
    families=("rivals",),
)

_PATCHED: Mapping[str, Value] = {
    "image_size": 96,
    "batch_size": 32,
    "multiples": "1-2-2",
    "blocks": 3,
    "attention": 0,
    "schedule": "cosine",
    "train_steps": 1000,
    "start": 500,
    "period": 24.0,
    "objective": "slice",
    "patch": 48,
    "loss": "l1",
    "clip_norm": 0.0,
    "ema": 0.0,
    "residual": "l1",
    "median_size": 5,
}

DDPM_PATCHED = replace(
    DDPM,
    name="ddpm-patched",
    title="pDDPM",
    summary="Noises one patch of a slice at a time, restores it from its surroundings in one pass, and compares.",
    params=tuple(replace(p, default=_PATCHED[p.name]) if p.name in _PATCHED else p for p in DDPM.params),
    budgets={
        "tiny": {**_SMALL["tiny"], "patch": 16, "start": 10},
        "demo": {**_SMALL["demo"], "patch": 32, "timesteps": 100, "start": 50, "train_steps": 100},
    },
    citation='Behrendt et al., "Patched Diffusion Models for Unsupervised Anomaly Detection in Brain MRI", MIDL 2023, '
    "arXiv 2303.03758.",
    code_licence="none",
    departures=(
        f"{_CHANNELS} T2 alone.",
        "The settings are those of the released configuration; the rate, the period of the noise and the 300 000 steps "
        "instead of 1600 passes are choices.",
        "The block that adds the condition to features does not scale them, and attention is in the middle alone.",
        "All slices are scored with the same field of noise, so that a score depends on its slice alone.",
        "The map is not limited to an eroded brain mask.",
        "Under the demo budget a diffusion has 100 steps; scoring takes the state after half of them, as published.",
        _DEMO_DEPARTURE,
    ),
)
