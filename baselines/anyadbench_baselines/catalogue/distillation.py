"""Descriptors of the methods that distil or reconstruct features of a pretrained network."""

from __future__ import annotations

from anyadbench.api import DEMO_SLICES, MISSING, MethodDescriptor, Param, Value
from anyadbench_baselines.catalogue.shared import (
    BACKBONES,
    BACKBONES_RACM,
    ENCODER,
    LITE,
    LITE_BLOCKS,
    MISSING_ZERO,
    RESNET18_V1,
    WIDE_RACM,
    WIDE_V1,
    image_score,
    image_size,
    positive,
    smoothing,
    training,
)

TINY: dict[str, Value] = {"image_size": 64, "batch_size": 2, "epochs": 0, "steps": 2}


def _budgets(batch: int, **more: Value) -> dict[str, dict[str, Value]]:
    demo: dict[str, Value] = {"image_size": 160, "batch_size": batch, "epochs": 0, "steps": DEMO_SLICES // batch}
    return {"tiny": TINY, "demo": demo | more}


_RD = "main.py of hq-deng/RD4AD"

RD4AD = MethodDescriptor(
    name="rd4ad",
    title="RD4AD",
    summary="Reconstructs a frozen network's features from a small one-class code (reverse distillation).",
    factory="anyadbench_baselines.rd4ad:Rd4ad",
    params=(
        ENCODER,
        image_size(256, _RD),
        *training(16, 200, 0, _RD),
        positive("lr", 0.005, f"Learning rate of Adam; {_RD}."),
        Param("beta1", 0.5, f"First decay rate of Adam; {_RD}.", minimum=0, maximum=1),
        smoothing(4.0, "test.py of hq-deng/RD4AD"),
        image_score("max", "test.py of hq-deng/RD4AD"),
    ),
    budgets=_budgets(8),
    missing_policies=MISSING,
    weights={"published": WIDE_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022, '
    "arXiv 2201.10703.",
    code_licence="MIT",
    departures=(MISSING_ZERO, LITE_BLOCKS, "The bottleneck's unused layers conv4 and bn4 exist but are not optimised."),
    parity="anyadbench_baselines.parity:rd4ad",
    families=("table",),
)

_RC = "recontrast_mvtec.py of guojiajeremy/ReContrast"

RECONTRAST = MethodDescriptor(
    name="recontrast",
    title="ReContrast",
    summary="Reconstructs a trained and a frozen encoder's features, each from the other's, with hard mining.",
    factory="anyadbench_baselines.recontrast:ReContrast",
    params=(
        ENCODER,
        image_size(256, _RC),
        *training(16, 0, 2000, _RC + ", its setting for MVTec; choice"),
        positive("lr", 2e-3, f"Learning rate of AdamW for bottleneck and decoder; {_RC}."),
        positive("encoder_lr", 1e-5, f"Learning rate of AdamW for the trained encoder; {_RC}."),
        positive("weight_decay", 1e-5, f"Weight decay of both; {_RC}."),
        Param("mining_ramp", 0.1, f"Fraction of the steps over which mining hardens; {_RC}.", minimum=1e-6, maximum=1),
        Param(
            "encoder_norm",
            "eval",
            "Batch norm of the trained encoder: eval as in recontrast_oct.py, train as in recontrast_aptos.py; choice.",
            choices=("train", "eval"),
        ),
        smoothing(4.0, "utils.py of guojiajeremy/ReContrast"),
        image_score("max", "utils.py of guojiajeremy/ReContrast"),
    ),
    budgets=_budgets(8),
    missing_policies=MISSING,
    weights={"published": WIDE_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Guo et al., "ReContrast: Domain-Specific Anomaly Detection via Contrastive Reconstruction", '
    "NeurIPS 2023, arXiv 2306.02602.",
    code_licence="unknown",
    departures=(
        MISSING_ZERO,
        LITE_BLOCKS,
        "The trained encoder's batch norm keeps the pretrained statistics (the authors' setting for OCT), because "
        "slices have large constant backgrounds.",
        "The 2000 steps are the setting for MVTec; no publication gives a number for brain MRI.",
    ),
    parity="anyadbench_baselines.parity:recontrast",
    families=("table",),
)

_ST = "main.py of gdwang08/STFPM"

STFPM = MethodDescriptor(
    name="stfpm",
    title="STFPM",
    summary="A student network matches a pretrained teacher's features on normal slices, at three levels.",
    factory="anyadbench_baselines.stfpm:Stfpm",
    params=(
        ENCODER,
        image_size(256, _ST),
        *training(32, 100, 0, _ST),
        positive("lr", 0.4, f"Learning rate of SGD; {_ST}."),
        Param("momentum", 0.9, f"Momentum of SGD; {_ST}.", minimum=0, maximum=1),
        positive("weight_decay", 1e-4, f"Weight decay; {_ST}."),
        smoothing(0.0, f"{_ST} (which does not smooth)"),
        image_score("max", _ST),
    ),
    budgets=_budgets(16),
    missing_policies=MISSING,
    weights={"published": RESNET18_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021, '
    "arXiv 2103.04257.",
    code_licence="unknown",
    departures=(
        MISSING_ZERO,
        "The student has no fourth stage, which the publication computes and never uses.",
    ),
    last_state_departure="The last step's student is scored; the publication holds out a fifth of the training "
    "pictures and keeps the student with the lowest mean map on them.",
    families=("table",),
)

_SK = "main.py of Arktis2022/Skip-TS"

SKIPTS = MethodDescriptor(
    name="skipts",
    title="Skip-TS",
    summary="Decodes a frozen network's deepest features back, with skips from its middle levels.",
    factory="anyadbench_baselines.skipts:SkipTs",
    params=(
        ENCODER,
        image_size(256, _SK),
        *training(16, 200, 0, _SK),
        positive("lr", 0.005, f"Learning rate of Adam; {_SK}."),
        Param("beta1", 0.5, f"First decay rate of Adam; {_SK}.", minimum=0, maximum=1),
        Param("res", 3, f"Skips of the decoder: 1 none, 2 one, 3 two; {_SK}, decoder.py.", choices=(1, 2, 3)),
        positive("consistency_weight", 0.05, f"Weight of the scale consistency loss; {_SK} (rate)."),
        smoothing(4.0, "eval_func.py of Arktis2022/Skip-TS"),
        image_score("max", "eval_func.py of Arktis2022/Skip-TS"),
    ),
    budgets=_budgets(8),
    missing_policies=MISSING,
    weights={"published": WIDE_RACM, "package": LITE},
    backbones=BACKBONES_RACM,
    citation='Liu et al., "Anomaly Detection for Medical Images Using Teacher-Student Model With Skip Connections and '
    'Multiscale Anomaly Consistency", IEEE Trans. Instrumentation and Measurement, 2024.',
    code_licence="unknown",
    departures=(
        MISSING_ZERO,
        LITE_BLOCKS,
        "Image scores are not rounded to three decimals, which creates ties in the published evaluation.",
        "Errors are compared at a quarter of the input's size; the publication fixes 64 for 256 pixels.",
    ),
    families=("table",),
)

_ES = "MRI/train_MRI.py of GE-123-cpu/ESC_DRKD"

ESCKDRKD = MethodDescriptor(
    name="esckdrkd",
    title="ESC-DRKD",
    summary="Decodes a frozen network's deepest features with skips that learn to repair pasted patches.",
    factory="anyadbench_baselines.esckdrkd:EscDrkd",
    params=(
        ENCODER,
        image_size(256, _ES),
        *training(4, 50, 0, _ES),
        positive("lr", 0.005, f"Learning rate of Adam for the decoder; {_ES}."),
        positive("projection_lr", 0.001, f"Learning rate of Adam for the projections; {_ES}."),
        Param("beta1", 0.5, f"First decay rate of both; {_ES}.", minimum=0, maximum=1),
        smoothing(4.0, "MRI/test_MRI.py of GE-123-cpu/ESC_DRKD"),
        image_score("max", "MRI/test_MRI.py of GE-123-cpu/ESC_DRKD"),
    ),
    budgets=_budgets(4),
    missing_policies=MISSING,
    weights={"published": WIDE_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Ge et al., "ESC-DRKD: Enhanced skip connection-based direct reverse knowledge distillation for medical '
    'image anomaly detection", Neurocomputing 2025, art. 130994.',
    code_licence="unknown",
    departures=(
        "Represents ESCK-DRKD of the AnyAD table; no paper of that exact name was found.",
        MISSING_ZERO,
        LITE_BLOCKS,
        "Training runs to its last pass; the publication stops early and selects on test data.",
        "The side of a pasted patch scales with the input; the publication has 256 pixels only.",
        "Centre-masked filters are masked in the product, not in the stored weights.",
    ),
    families=("table",),
)
