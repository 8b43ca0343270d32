"""Descriptors of AnyAD and its two other versions; importing this module imports neither torch nor a method."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.api import MISSING, MethodDescriptor, Param
from anyadbench_baselines.descriptors import INP_BUDGETS, INP_CHECKPOINT, INP_DEPARTURES, INP_PARAMS, INP_WEIGHTS

_SOURCE = "train.py of wuchangw/AnyAD"
_FORMS = ("none", "encoder", "bottleneck", "adapter", "teacher", "recalibration")


def _params(align: str, forms: tuple[str, ...], *, registers: bool) -> tuple[Param, ...]:
    published = {
        "epochs": Param("epochs", 300, f"Passes over the training normals, 0 to count steps; {_SOURCE}.", minimum=0),
        "registers": Param(
            "registers",
            registers,
            "Whether to use the weights' register tokens; vit_encoder.load drops them.",
        ),
    }
    form = "What is aligned with the full input, see anyadbench_anyad.alignment; 'encoder' is " + _SOURCE + "."
    return (
        *(published.get(param.name, param) for param in INP_PARAMS),
        Param("align", align, form, choices=forms),
        Param("align_weight", 0.4, f"Weight of the alignment loss; {_SOURCE} (hard-coded).", minimum=0),
    )


_MEMORY = Param(
    "memory",
    4096,
    "Normal tokens that the reconstruction error is weighed with, see anyadbench_anyad.memory; 0 scores as published.",
    minimum=0,
)


_CITATION = (
    'Wu et al., "AnyAD: Unified Any-Modality Anomaly Detection in Incomplete Multi-Sequence MRI", arXiv 2512.21264.'
)

_SELECTION = "The last step's model is scored; the release keeps the epoch that is best on the test set."

ANYAD = MethodDescriptor(
    name="anyad",
    title="AnyAD + teacher (this project)",
    summary="INP-Former trained on random subsets of sequences, with a trainable alignment to the full input: an "
    "extension of AnyAD.",
    factory="anyadbench_anyad.method:AnyAd",
    params=(*_params("teacher", _FORMS, registers=True), _MEMORY),
    budgets=INP_BUDGETS,
    training_mask="per-sample",
    missing_policies=MISSING,
    weights=INP_WEIGHTS,
    checkpoint=INP_CHECKPOINT,
    citation=_CITATION,
    code_licence="none",
    departures=(
        *INP_DEPARTURES,
        "The alignment acts on something that trains; the release's acts on the frozen encoder and has no gradient.",
        "A token's reconstruction error is multiplied by its distance from the nearest token of training normals, and "
        "the map is 0 outside the brain.",
        "Sequences are hidden per slice; the release draws one subset per epoch and blanks image rows instead.",
        "Register tokens are kept; the release drops them when it loads the encoder.",
    ),
    last_state_departure=_SELECTION,
    parity="anyadbench_anyad.parity:reproduce",
    families=("table",),
)

ANYAD_INTENDED = replace(
    ANYAD,
    name="anyad-intended",
    title="AnyAD",
    summary="AnyAD as its paper describes it: sequences are hidden, and the published alignment has no gradient.",
    params=_params("encoder", ("encoder",), registers=True),
    departures=(
        *INP_DEPARTURES,
        "Sequences are hidden per slice; the release draws one subset per epoch and blanks image rows instead.",
        "Register tokens are kept; the release drops them when it loads the encoder.",
    ),
    parity="",
)

ANYAD_RELEASED = replace(
    ANYAD,
    name="anyad-released",
    title="AnyAD (as released)",
    summary="What the released code trains: full input, up to two blank pixel rows, and an alignment without gradient.",
    factory="anyadbench_anyad.method:AnyAdReleased",
    params=_params("encoder", ("encoder",), registers=False),
    training_mask="per-epoch",
    departures=(
        *INP_DEPARTURES,
        "Scoring sees the shown sequences only; the release's test script blanks image rows and hides no sequence.",
    ),
    parity="",
)
