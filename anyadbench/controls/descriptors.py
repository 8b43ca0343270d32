"""Descriptors of the controls; imports neither torch nor numpy."""

from __future__ import annotations

from anyadbench.methods.descriptor import CONTROL, MethodDescriptor
from anyadbench.methods.params import Param

_MEISSEN = (
    "Meissen, Kaissis, Rueckert, Challenging current semi-supervised anomaly segmentation methods for brain MRI, "
    "MICCAI BrainLes 2021, arXiv:2109.06023"
)

BRAIN = MethodDescriptor(
    name="control:brain",
    title="Brain mask (control)",
    summary="The map is 1 inside the brain and 0 outside; the slice score is the share of the field that is brain.",
    factory="anyadbench.controls.maps:BrainMask",
    families=(CONTROL,),
)

INTENSITY = MethodDescriptor(
    name="control:intensity",
    title="Brightness (control)",
    summary="The map is the mean of the shown sequences, T1, T1ce and ADC inverted inside the brain, smoothed.",
    factory="anyadbench.controls.maps:Brightness",
    params=(
        Param(
            "smoothing_sigma", 2.0, "Standard deviation of the Gaussian in pixels; 0 for none (choice).", minimum=0.0
        ),
    ),
    citation=_MEISSEN,
    families=(CONTROL,),
)
