"""Descriptors of anomalib's models; importing this module imports neither anomalib nor torch."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

from anyadbench.api import CHANNEL_LAYOUTS, MISSING, MethodDescriptor, Param, Value
from anyadbench_anomalib.catalogue import MODELS
from anyadbench_anomalib.catalogue.entry import RELEASE, Model

FILES = "ANYADBENCH_ANOMALIB_FILES"
"""Environment variable for the folder of files that some models need."""

INSTALL = f"'pip install \"anomalib=={RELEASE}.*\"'"
"""The command that adds the release of anomalib that the models are written for."""

_GENERAL = (
    "Missing sequences are 0 after normalisation; anomalib's images have three natural colour channels.",
    "Slices are resized bilinearly without antialiasing.",
)
_LAST = "The last step's model is scored; anomalib's examples may stop early on test data."
_NO_MAP = "The model has no map: the whole slice has its image score, so its pixel metrics are meaningless."
_SCHEDULE = (
    "The learning rate changes once per pass if schedule_per is epoch, as in anomalib; its schedules for "
    "Dinomaly, INP-Former, U-Flow and EfficientAD are written for steps, all others for passes."
)


def installed() -> bool:
    """Whether anomalib is installed; does not import it."""
    return find_spec("anomalib") is not None


def params(model: Model) -> tuple[Param, ...]:
    """Return the parameters of a model: those of the adapter, then anomalib's own."""
    if model.unavailable:
        return ()
    least = model.least or model.multiple
    side = f"Side in pixels to which slices are resized; anomalib {RELEASE}."
    batch, epochs, steps = model.training
    found = [
        Param("anomalib", RELEASE, "Release of anomalib that computes the numbers.", choices=(RELEASE,)),
        Param("image_size", model.size, side, minimum=least, maximum=model.most, multiple_of=model.multiple),
        Param(
            "channels",
            "stack",
            "How sequences meet three channels, see anyadbench.api.channel_table; choice.",
            CHANNEL_LAYOUTS,
        ),
        Param("batch_size", batch, "Slices per step, or per batch of a pass; anomalib's data modules.", minimum=1),
    ]
    if model.trained:
        found += [
            Param("epochs", epochs, f"Passes over the training normals, 0 to count steps; {model.source}.", minimum=0),
            Param("steps", steps, f"Training steps, 0 to count epochs; {model.source}.", minimum=0),
        ]
    if model.scheduled:
        doc = "Whether the learning rate changes once per pass, as in anomalib, or per step; choice."
        found.append(Param("schedule_per", "epoch", doc, choices=("epoch", "step")))
    if model.backbones or "backbone" in model.architecture:
        doc = "Pretrained network: 'profile' for that of the weights profile, a short name, or a timm name with its tag"
        found.append(Param("backbone", "profile", f"{doc}; {', '.join(model.backbones) or 'choice'}."))
    if model.files:
        needed = " and ".join(model.files)
        doc = f"Folder with {needed}; empty for the environment variable {FILES}."
        found.append(Param("files", "", doc, place=True))
    return (*found, *model.own)


def describe(model: Model) -> MethodDescriptor:
    """Return the descriptor of a model."""
    needs = f" Needs files ({', '.join(model.files)}), see {FILES}." if model.files else ""
    known = params(model)
    names = {param.name for param in known}
    budgets: dict[str, dict[str, Value]] = {"tiny": dict(model.tiny), "demo": dict(model.demo)}
    extra = (*((_NO_MAP,) if model.score else ()), *((_SCHEDULE,) if "schedule_per" in names else ()))
    return MethodDescriptor(
        name=f"anomalib:{model.name}",
        title=model.title,
        summary=model.summary + needs,
        factory="anyadbench_anomalib.factory:build",
        params=(Param("model", model.name, "Which of anomalib's models.", choices=(model.name,)), *known),
        budgets={"tiny": {}, "demo": {}} if model.unavailable else budgets,
        missing_policies=MISSING,
        weights=model.weights,
        backbones=model.backbones,
        citation=model.citation,
        code_licence="Apache-2.0",
        files="anyadbench_anomalib.files:needed" if model.files else "",
        departures=() if model.unavailable else (*model.departures, *extra, *_GENERAL),
        last_state_departure="" if model.unavailable else _LAST,
        families=("anomalib",),
        unavailable=model.unavailable or ("" if installed() else f"it needs the package anomalib; {INSTALL} adds it"),
    )


METHODS = SimpleNamespace(**{name: describe(model) for name, model in MODELS.items()})
"""One descriptor per model, named as in the entry points."""
