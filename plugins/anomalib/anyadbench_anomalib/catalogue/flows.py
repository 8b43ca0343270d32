"""Models that learn the density of features with a normalising flow."""

from __future__ import annotations

from anyadbench.api import DEMO_SLICES, Value
from anyadbench_anomalib.catalogue.entry import CHOICE, LITE_LEVELS, Model, choices, convolutional, own

_TINY: dict[str, Value] = {"image_size": 64, "batch_size": 2, "epochs": 0, "steps": 2}


def _demo(size: int, batch: int, **more: Value) -> dict[str, Value]:
    return {"image_size": size, "batch_size": batch, "epochs": 0, "steps": DEMO_SLICES // batch, **more}


FLOWS = (
    Model(
        name="fastflow",
        cls="Fastflow",
        fixed=("feature_extractor",),
        title="FastFlow",
        summary="Two-dimensional normalising flows on a network's features at three levels.",
        citation='Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows", '
        "arXiv 2111.07677.",
        weights=convolutional("resnet18.a1_in1k"),
        backbones=choices("resnet18", "wide_resnet50_2"),
        architecture=("backbone",),
        own=(
            own("flow_steps", 8, "Steps of each flow", 1),
            own("conv3x3_only", False, "Whether every second step has a 1x1 convolution"),
            own("hidden_ratio", 1.0, "Width inside a step, relative to its input's", 0.01),
        ),
        training=(32, 500, 0),
        source=CHOICE,
        tiny=_TINY | {"flow_steps": 2},
        demo=_demo(160, 16),
        departures=(
            "With EfficientNet-Lite0 (profile package), which anomalib does not offer here, the flows have the widths "
            "of its levels of strides 4, 8 and 16.",
        ),
    ),
    Model(
        name="cflow",
        cls="Cflow",
        fixed=("encoder",),
        title="CFLOW-AD",
        summary="Normalising flows of single feature vectors, conditioned on their position.",
        citation='Gudovskiy et al., "CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via '
        'Conditional Normalizing Flows", WACV 2022, arXiv 2107.12571.',
        weights=convolutional("wide_resnet50_2.racm_in1k"),
        backbones=choices(),
        architecture=("backbone",),
        levels=("layers", (2, 3, 4)),
        own=(
            own("fiber_batch_size", 64, "Feature vectors per step of the optimiser", 1),
            own("condition_vector", 128, "Width of the position encoding, a multiple of 4", 4),
            own("coupling_blocks", 8, "Blocks of each flow", 1),
            own("clamp_alpha", 1.9, "Bound of a block's scale", 0),
            own("lr", 1e-4, "Learning rate of Adam", 0),
        ),
        training=(32, 50, 0),
        source=CHOICE,
        tiny=_TINY | {"coupling_blocks": 2, "condition_vector": 16, "fiber_batch_size": 8},
        demo=_demo(128, 8),
        departures=(
            LITE_LEVELS,
            "The map is minus the sum of the levels' likelihoods; anomalib scales each level by the likeliest position "
            "of the batch, so that its scores depend on the batch.",
        ),
    ),
    Model(
        name="csflow",
        cls="Csflow",
        fixed=("feature_extractor",),
        title="CS-Flow",
        summary="One normalising flow across three scales of deep features.",
        citation='Rudolph et al., "Fully Convolutional Cross-Scale-Flows for Image-based Defect Detection", WACV 2022, '
        "arXiv 2110.02855.",
        size=256,
        multiple=128,
        weights={"published": None, "package": None},
        own=(
            own("cross_conv_hidden_channels", 1024, "Width inside a block", 1),
            own("n_coupling_blocks", 4, "Blocks", 1),
            own("clamp", 3, "Bound of a block's scale", 1),
        ),
        training=(32, 240, 0),
        source=CHOICE,
        tiny=_TINY | {"image_size": 128, "cross_conv_hidden_channels": 8, "n_coupling_blocks": 1},
        demo=_demo(128, 8, cross_conv_hidden_channels=64),
        files={
            "efficientnet_b5_lukemelas-1a07897c.pth": "torchvision's weights of EfficientNet-B5, whose names are not "
            "timm's"
        },
    ),
    Model(
        name="uflow",
        cls="Uflow",
        fixed=(
            "feature_extractor.feature_extractor",
            "feature_extractor.extractor1",
            "feature_extractor.extractor2",
        ),
        title="U-Flow",
        summary="A U-shaped normalising flow over multi-scale features.",
        citation='Tailanian et al., "U-Flow: A U-shaped Normalizing Flow for Anomaly Detection with Unsupervised '
        'Threshold", arXiv 2211.12353.',
        size=448,
        weights={"published": "cait_m48_448.fb_dist_in1k", "package": None},
        backbones=choices("resnet18", "wide_resnet50_2"),
        architecture=("backbone",),
        own=(
            own("flow_steps", 4, "Steps of each flow", 1),
            own("affine_clamp", 2.0, "Bound of a step's scale", 0),
            own("affine_subnet_channels_ratio", 1.0, "Width inside a step, relative to its input's", 0.01),
        ),
        training=(32, 200, 0),
        source=CHOICE,
        scheduled=True,
        tiny=_TINY | {"backbone": "efficientnet_lite0", "flow_steps": 1},
        demo=_demo(160, 8, backbone="efficientnet_lite0"),
        departures=(
            "anomalib's own backbone is two CaiT transformers at 448 px, of which the manifest names the first; the "
            "second is cait_s24_224.fb_dist_in1k.",
            "With EfficientNet-Lite0 (budgets demo and tiny), which anomalib does not offer here, the flow has the "
            "widths of its levels of strides 4, 8 and 16.",
        ),
    ),
    Model(
        name="patchflow",
        cls="Patchflow",
        fixed=("feature_extractor",),
        title="PatchFlow",
        summary="A normalising flow on multi-scale features, fused per patch.",
        citation="arXiv 2602.05238, as implemented in anomalib 2.7.",
        size=768,
        weights=convolutional("tf_efficientnet_b5.ns_jft_in1k"),
        architecture=("backbone",),
        own=(
            own("flow_steps", 1, "Steps of the flow", 1),
            own("flow_feature_dim", 128, "Width of the fused features", 2),
            own("num_scales", 3, "Scales of the image", 1),
            own("patch_size", 3, "Side of the average pooling of features", 1),
            own("flow_hidden_dim", 128, "Width inside a step", 1),
            own("lr", 1e-3, "Learning rate of Adam", 0),
            own("weight_decay", 1e-4, "Weight decay", 0),
        ),
        training=(32, 200, 0),
        source="anomalib's example configuration",
        tiny=_TINY | {"image_size": 128, "flow_feature_dim": 8, "flow_hidden_dim": 8},
        demo=_demo(160, 8),
    ),
)
