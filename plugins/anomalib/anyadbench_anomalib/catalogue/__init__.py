"""Facts on anomalib's models, available without importing anomalib, which takes ten seconds."""

from __future__ import annotations

from anyadbench_anomalib.catalogue.banks import BANKS
from anyadbench_anomalib.catalogue.entry import Model
from anyadbench_anomalib.catalogue.features import FEATURES
from anyadbench_anomalib.catalogue.flows import FLOWS
from anyadbench_anomalib.catalogue.language import LANGUAGE
from anyadbench_anomalib.catalogue.other import OTHER
from anyadbench_anomalib.catalogue.simulated import SIMULATED

MODELS: dict[str, Model] = {model.name: model for model in (*BANKS, *FEATURES, *FLOWS, *SIMULATED, *LANGUAGE, *OTHER)}
"""Every image model, by the name of its folder in ``anomalib/models/image``."""
