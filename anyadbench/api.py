"""The one surface for authors of methods, data sets, protocols, metrics, launchers and report sections.

Everything that a plugin may rely on is importable from here, and documented in ``docs/reference/api.md``; every other
module of the package may change from one release to the next. Importing this module loads neither torch nor numpy nor
pandas: a name is imported when it is first asked for, so a descriptor may take its names from here too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from anyadbench.boards.aggregate.model import Board
    from anyadbench.boards.aggregate.report_section import ReportSection
    from anyadbench.cells.job import Job, Outcome
    from anyadbench.data.store.encoding import encode, fit_coding
    from anyadbench.data.trees.files import Match, Person, ScanFiles, SliceFiles, Survey
    from anyadbench.data.trees.nifti_scan import hash_array
    from anyadbench.data.trees.problems import BadFile, Problem
    from anyadbench.data.trees.reader import TreeReader
    from anyadbench.data.trees.readers.volume_tree import VolumeReader
    from anyadbench.data.trees.scan_slices import Part, lesion_distance, sequence_columns
    from anyadbench.data.trees.sets.layout import FOUR_D, REGIONS, SEGMENTATION, SKIP, Layout
    from anyadbench.data.trees.volume import Volume, canonical_volume
    from anyadbench.errors import UserError
    from anyadbench.launch.launchers import (
        Launcher,
        LaunchOptions,
        cell_command,
        known_settings,
        recorded_outcome,
    )
    from anyadbench.launch.supervisor import worker_environment, worker_outcome
    from anyadbench.methods.backbones import backbone, fill_backbone, patch_size, patch_tokens
    from anyadbench.methods.contract import (
        Batch,
        Context,
        Loop,
        Losses,
        Method,
        Normals,
        OptimizerSpec,
        Scores,
    )
    from anyadbench.methods.descriptor import (
        API_VERSION,
        BUDGETS,
        DEMO_SLICES,
        MISSING,
        TRAINING_MASKS,
        Budget,
        MethodDescriptor,
    )
    from anyadbench.methods.distances import (
        cosine_distance,
        flat_cosine_loss,
        mean_cosine_loss,
        mined_cosine_loss,
    )
    from anyadbench.methods.feature_method import FeatureMethod
    from anyadbench.methods.freezing import exclude_from_cells, freeze
    from anyadbench.methods.graph import GraphMethod, in_graph
    from anyadbench.methods.inputs import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        as_channels,
        as_rgb,
        channel_table,
        fill_missing,
        normalise,
        resize,
        shown_images,
    )
    from anyadbench.methods.maps import distance_map, enlarge, to_scores
    from anyadbench.methods.params import CHANNEL_LAYOUTS, Param, Value
    from anyadbench.methods.precision import at_least_single, full_precision
    from anyadbench.methods.pyramid import Pyramid, untrained
    from anyadbench.methods.smoothing import gaussian_filter, median_filter
    from anyadbench.metrics.core.evaluation import evaluate
    from anyadbench.metrics.lesions.cohort import cohort_numbers
    from anyadbench.metrics.lesions.record import score_scan
    from anyadbench.metrics.rows.plugin_metrics import AddedMetric, RowScores, SubjectPixels
    from anyadbench.plugins.hookspecs import hookimpl
    from anyadbench.processes import LIFELINE
    from anyadbench.protocols.model import Protocol
    from anyadbench.protocols.reader import read_protocol
    from anyadbench.sequences import (
        AS_AVAILABLE,
        SEQUENCES,
        SHORT,
        Subset,
        all_subsets,
        format_subset,
        parse_subset,
    )
    from anyadbench.testing.conformance.kit import check_method
    from anyadbench.testing.conformance.model import Finding, Limits, Report
    from anyadbench.testing.parity import ParityFixture
    from anyadbench.weights.loading import load_strictly
    from anyadbench.weights.reading import read_tensors
    from anyadbench.weights.resolution import resolve as resolve_weights
    from anyadbench.weights.resolved import ResolvedWeights

__all__ = [
    "API_VERSION",
    "AS_AVAILABLE",
    "BUDGETS",
    "CHANNEL_LAYOUTS",
    "DEMO_SLICES",
    "FOUR_D",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LIFELINE",
    "MISSING",
    "REGIONS",
    "SEGMENTATION",
    "SEQUENCES",
    "SHORT",
    "SKIP",
    "TRAINING_MASKS",
    "AddedMetric",
    "BadFile",
    "Batch",
    "Board",
    "Budget",
    "Context",
    "FeatureMethod",
    "Finding",
    "GraphMethod",
    "Job",
    "LaunchOptions",
    "Launcher",
    "Layout",
    "Limits",
    "Loop",
    "Losses",
    "Match",
    "Method",
    "MethodDescriptor",
    "Normals",
    "OptimizerSpec",
    "Outcome",
    "Param",
    "ParityFixture",
    "Part",
    "Person",
    "Problem",
    "Protocol",
    "Pyramid",
    "Report",
    "ReportSection",
    "ResolvedWeights",
    "RowScores",
    "ScanFiles",
    "Scores",
    "SliceFiles",
    "SubjectPixels",
    "Subset",
    "Survey",
    "TreeReader",
    "UserError",
    "Value",
    "Volume",
    "VolumeReader",
    "all_subsets",
    "as_channels",
    "as_rgb",
    "at_least_single",
    "backbone",
    "canonical_volume",
    "cell_command",
    "channel_table",
    "check_method",
    "cohort_numbers",
    "cosine_distance",
    "distance_map",
    "encode",
    "enlarge",
    "evaluate",
    "exclude_from_cells",
    "fill_backbone",
    "fill_missing",
    "fit_coding",
    "flat_cosine_loss",
    "format_subset",
    "freeze",
    "full_precision",
    "gaussian_filter",
    "hash_array",
    "hookimpl",
    "in_graph",
    "known_settings",
    "lesion_distance",
    "load_strictly",
    "mean_cosine_loss",
    "median_filter",
    "mined_cosine_loss",
    "normalise",
    "parse_subset",
    "patch_size",
    "patch_tokens",
    "read_protocol",
    "read_tensors",
    "recorded_outcome",
    "resize",
    "resolve_weights",
    "score_scan",
    "sequence_columns",
    "shown_images",
    "to_scores",
    "untrained",
    "worker_environment",
    "worker_outcome",
]

_NAMES = {
    "boards.aggregate.model": "Board",
    "boards.aggregate.report_section": "ReportSection",
    "cells.job": "Job Outcome",
    "data.store.encoding": "encode fit_coding",
    "data.trees.files": "Match Person ScanFiles SliceFiles Survey",
    "data.trees.sets.layout": "FOUR_D REGIONS SEGMENTATION SKIP Layout",
    "data.trees.nifti_scan": "hash_array",
    "data.trees.problems": "BadFile Problem",
    "data.trees.reader": "TreeReader",
    "data.trees.readers.volume_tree": "VolumeReader",
    "data.trees.scan_slices": "Part lesion_distance sequence_columns",
    "data.trees.volume": "Volume canonical_volume",
    "errors": "UserError",
    "launch.launchers": "Launcher LaunchOptions cell_command known_settings recorded_outcome",
    "launch.supervisor": "worker_environment worker_outcome",
    "methods.backbones": "backbone fill_backbone patch_size patch_tokens",
    "methods.contract": "Batch Context Loop Losses Method Normals OptimizerSpec Scores",
    "methods.descriptor": "API_VERSION BUDGETS DEMO_SLICES MISSING TRAINING_MASKS Budget MethodDescriptor",
    "methods.distances": "cosine_distance flat_cosine_loss mean_cosine_loss mined_cosine_loss",
    "methods.feature_method": "FeatureMethod",
    "methods.freezing": "exclude_from_cells freeze",
    "methods.graph": "GraphMethod in_graph",
    "methods.inputs": (
        "IMAGENET_MEAN IMAGENET_STD as_channels as_rgb channel_table fill_missing normalise resize shown_images"
    ),
    "methods.maps": "distance_map enlarge to_scores",
    "methods.params": "CHANNEL_LAYOUTS Param Value",
    "methods.precision": "at_least_single full_precision",
    "methods.pyramid": "Pyramid untrained",
    "methods.smoothing": "gaussian_filter median_filter",
    "metrics.core.evaluation": "evaluate",
    "metrics.lesions.cohort": "cohort_numbers",
    "metrics.lesions.record": "score_scan",
    "metrics.rows.plugin_metrics": "AddedMetric RowScores SubjectPixels",
    "plugins.hookspecs": "hookimpl",
    "processes": "LIFELINE",
    "protocols.model": "Protocol",
    "protocols.reader": "read_protocol",
    "sequences": "AS_AVAILABLE SEQUENCES SHORT Subset all_subsets format_subset parse_subset",
    "testing.conformance.kit": "check_method",
    "testing.conformance.model": "Finding Limits Report",
    "testing.parity": "ParityFixture",
    "weights.loading": "load_strictly",
    "weights.reading": "read_tensors",
    "weights.resolution": "resolve_weights",
    "weights.resolved": "ResolvedWeights",
}
"""Names by the module below ``anyadbench`` that has them."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_CALLED = {"resolve_weights": "resolve"}
"""What a name is called in its module, where that is another one."""


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # a type checker would take this for a module that has every name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"anyadbench.{_HOMES[name]}"), _CALLED.get(name, name))
        globals()[name] = value
        return value
