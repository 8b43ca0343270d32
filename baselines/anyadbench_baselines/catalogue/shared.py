"""Parameters, backbones and sentences shared by several descriptors."""

from __future__ import annotations

from anyadbench.api import Param

LITE = "efficientnet-lite0-package"
"""The convolutional backbone that a package index can provide."""

WIDE_V1, WIDE_RACM, RESNET18_V1 = "wide_resnet50_2.tv_in1k", "wide_resnet50_2.racm_in1k", "resnet18.tv_in1k"

BACKBONES = {
    "wide_resnet50_2": {"published": WIDE_V1},
    "resnet18": {"published": RESNET18_V1},
    "efficientnet_lite0": {"published": "efficientnet_lite0.ra_in1k", "package": LITE},
}
"""Short names of backbones, with exact tags: torchvision's first weights if the network has them."""

BACKBONES_RACM = {**BACKBONES, "wide_resnet50_2": {"published": WIDE_RACM}}
"""The same, with the weights of timm's bare name."""

ENCODER = Param(
    "encoder",
    "profile",
    "Pretrained network: 'profile' for that of the weights profile, a name of 'anyadbench encoders', or any timm name "
    "with its tag; choice of this benchmark.",
)


def image_size(size: int, source: str, multiple_of: int = 32) -> Param:
    """Return the parameter for the side to which slices are resized."""
    doc = f"Side in pixels to which slices are resized; {source}."
    return Param("image_size", size, doc, minimum=multiple_of, maximum=2048, multiple_of=multiple_of)


def training(batch: int, epochs: int, steps: int, source: str, *, drop_last: bool = False) -> tuple[Param, ...]:
    """Return the parameters for the length of training; one of ``epochs`` and ``steps`` is 0."""
    smaller = "choice of the smaller budgets"
    return (
        Param("batch_size", batch, f"Slices per step; {source}.", minimum=1),
        Param("epochs", epochs, f"Passes over the training normals, 0 to count steps; {source}.", minimum=0),
        Param("steps", steps, f"Training steps, 0 to count epochs; {source if steps else smaller}.", minimum=0),
        Param("drop_last", drop_last, f"Whether an incomplete last batch is dropped; {source}."),
    )


def smoothing(sigma: float, source: str) -> Param:
    """Return the parameter for the Gaussian filter of the map."""
    doc = f"Standard deviation in pixels of the Gaussian filter of the map, 0 for none; {source}."
    return Param("smoothing_sigma", sigma, doc, minimum=0, maximum=64)


def image_score(default: str, source: str) -> Param:
    """Return the parameter for the image score of a map."""
    doc = f"Image score: max of the map, or top for the mean of its highest 1 %; {source}."
    return Param("image_score", default, doc, choices=("max", "top"))


def positive(name: str, default: float, doc: str) -> Param:
    """Return a parameter for a non-negative number."""
    return Param(name, default, doc, minimum=0)


MISSING_ZERO = "Missing sequences are 0 after normalisation; the publication has no such case."
LITE_BLOCKS = (
    "With a backbone other than the published ResNets, bottleneck and decoder have two basic residual "
    "blocks per stage, at the backbone's own widths."
)
