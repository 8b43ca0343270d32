"""Descriptors of the rivals."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.api import DEMO_SLICES, MethodDescriptor, Param
from anyadbench_rivals.parameters import image_size, positive, training, whole

_NET = "README of zhibaishouheilab/UniTransAD"
_UT = "train.py of zhibaishouheilab/UniTransAD"

UNITRANSAD = MethodDescriptor(
    name="unitransad",
    title="UniTransAD",
    summary="Renders each sequence in the remembered style of the others and back; what does not return is abnormal.",
    factory="anyadbench_rivals.unitransad.method:UniTransAd",
    params=(
        image_size(256, _NET, 8),
        *training(32, 15, f"{_NET}: 8 on each of 4 GPUs"),
        Param("patch", 8, f"Side of a patch in pixels; {_NET}.", choices=(4, 8, 16)),
        Param("width", 128, f"Width of the encoders of content and style; {_NET}.", minimum=8, multiple_of=8),
        whole("depth", 12, f"Blocks of each encoder; {_NET}."),
        whole("heads", 16, f"Attention heads of the encoders; {_NET}."),
        Param("generator_width", 64, "Width of the generator, half of ``width``; models/unitransad.py.", minimum=4),
        whole("generator_depth", 8, f"Blocks of the generator; {_NET}."),
        whole("generator_heads", 8, f"Attention heads of the generator; {_NET}."),
        positive("lr", 1e-3, f"Peak learning rate of AdamW; {_UT}."),
        positive("decay", 0.05, f"Weight decay, of biases and norms too; {_UT}."),
        positive("contrastive_weight", 0.005, f"Weight of the contrastive loss; {_UT}."),
        positive("translation_weight", 5.0, f"Weight of the translation loss; line 189 of {_UT}."),
        Param("temperature", 0.05, f"Temperature of the contrastive loss; {_UT}.", minimum=1e-3),
        Param("momentum", 0.01, f"Weight of a batch's mean style in the memory; {_UT}.", minimum=1e-6, maximum=1),
        Param("augment", True, "Whether slices are flipped, turned and changed in contrast; data/dataset.py."),
        Param(
            "similarity",
            "slice",
            "Scale of the feature agreement: slice (min-max per slice, tune.py), absolute (the cosine itself, choice) "
            "or off (the pixel error alone, tune.py's _err).",
            choices=("slice", "absolute", "off"),
        ),
        Param(
            "targets",
            "mean",
            "How one source's maps are fused over its targets; choice (the publication takes the best on lesions).",
            choices=("mean", "max", "min"),
        ),
        Param(
            "sources",
            "mean",
            "How maps are fused over the shown sequences: mean, max, or first (FLAIR, T2, T1ce, T1 in this order); "
            "choice (the publication takes the best on lesions).",
            choices=("mean", "max", "first"),
        ),
        Param(
            "median_size",
            0,
            "Side of the median filter of the map, 0 for none; choice (the publication tunes it on lesions).",
            choices=(0, 3, 5, 7),
        ),
    ),
    budgets={
        "tiny": {
            "image_size": 32,
            "batch_size": 2,
            "epochs": 0,
            "steps": 2,
            "width": 32,
            "depth": 1,
            "heads": 4,
            "generator_width": 16,
            "generator_depth": 1,
            "generator_heads": 2,
            "momentum": 0.5,
        },
        "demo": {
            "image_size": 96,
            "batch_size": 8,
            "epochs": 0,
            "steps": DEMO_SLICES // 8,
            "width": 64,
            "depth": 4,
            "heads": 8,
            "generator_width": 32,
            "generator_depth": 4,
            "generator_heads": 4,
            "momentum": 0.05,
        },
    },
    missing="native",
    checkpoint=("edge_fuse.weight",),
    citation='Zhang et al., "UniTransAD: Universal Translation Framework for Anomaly Detection in Brain MRI", IEEE TMI '
    "2026, doi 10.1109/TMI.2026.3711975.",
    code_licence="none",
    departures=(
        "Maps are averaged over all targets that the memory has learnt and over all shown sequences with tissue; the "
        "publication chooses one pair of sequences per data set on lesions.",
        "There is no component filter and by default no median filter; the publication tunes both on lesions.",
        "The last step's network is scored; the publication chooses the checkpoint on lesions.",
        "Maps are scored on the protocol's grid; the publication reduces them to 64, 128 or 256 pixels per data set.",
        "The image score is the mean of the map's highest 1 %; the publication defines none.",
        "A source without any target in the memory is rendered in its own style; a slice without tissue scores 0.",
        "In training a slice that lacks the drawn source takes the next one that it has, and a pair of sequences "
        "without common tissue is left out, where the published loss is infinite.",
        "The edge map of each sequence is its own; the published script gives IXI's PD picture as its edges.",
        "Intensities are the protocol's; the published ones are also clipped from below.",
        "The learning rate changes 15 times in equal shares of the training, as in the published 15 epochs.",
        "Under the demo budget the memory's momentum is 0.05, five times the publication's, for its few steps.",
    ),
    parity="anyadbench_rivals.unitransad.parity:reproduce",
    families=("rivals",),
)

UNITRANSAD_FLAIR = replace(
    UNITRANSAD,
    name="unitransad-flair",
    title="UniTransAD (one source)",
    summary="UniTransAD with a single source: FLAIR where it is shown, else T2, T1ce or T1.",
    params=tuple(replace(p, default="first") if p.name == "sources" else p for p in UNITRANSAD.params),
    departures=(
        "Maps are averaged over all targets that the memory has learnt, of the first shown sequence among FLAIR, T2, "
        "T1ce and T1; the publication chooses one pair of sequences per data set on lesions.",
        *UNITRANSAD.departures[1:],
    ),
    parity="",
)

_UM = "train.py of yuanzhao-CVLAB/UniMMAD"
_MOE = "mymodels/cmoe.py of yuanzhao-CVLAB/UniMMAD"
_FCM = "mymodels/FCM.py of yuanzhao-CVLAB/UniMMAD"
_WIDE, _LITE = "wide_resnet50_2.tv2_in1k", "efficientnet-lite0-package"

UNIMMAD = MethodDescriptor(
    name="unimmad",
    title="UniMMAD",
    summary="Decompresses each sequence's frozen features from one general code, by experts chosen for the sequence.",
    factory="anyadbench_rivals.unimmad.method:UniMmad",
    params=(
        Param(
            "encoder",
            "profile",
            "Pretrained network of both encoders: 'profile' for that of the weights profile, wide_resnet50_2, "
            "resnet18, efficientnet_lite0, or any timm name with its tag; choice of this benchmark.",
        ),
        image_size(256, _UM, 32),
        *training(10, 200, _UM),
        Param("width", 512, f"Channels at which the encoder's levels meet; {_FCM}.", minimum=8, multiple_of=8),
        Param("decoder", "3-4-6", f"Blocks of the decoder's stages; {_FCM}.", choices=("1-1-1", "2-2-2", "3-4-6")),
        Param("base_width", 128, f"Relative width of the decoder's bottlenecks; {_FCM}.", choices=(64, 128)),
        whole("expert_width", 256, f"Channels inside the experts; {_MOE}."),
        whole("experts", 8, f"Kernels in the bank that leaders mix; {_MOE}."),
        whole("leaders", 32, f"Leaders that the router chooses from; {_MOE}."),
        whole("top", 2, f"Leaders chosen for each picture; {_MOE}."),
        positive("lr", 1e-3, f"Learning rate of Adam; {_UM}."),
        positive("loss_weight", 10.0, "Weight of the reconstruction loss; config.json, BraTS."),
        Param(
            "layout",
            "packed",
            "Where sequences go in the stem's twelve channels: packed from the front, as data/mmad_datasets.py does, "
            "or slots, each in its own (choice).",
            choices=("packed", "slots"),
        ),
        Param(
            "pictures",
            "sum",
            "Map of several sequences: sum of squared distances, as released, which grows with their number, or mean "
            "(choice).",
            choices=("sum", "mean"),
        ),
    ),
    budgets={
        "tiny": {
            "image_size": 64,
            "batch_size": 2,
            "epochs": 0,
            "steps": 2,
            "width": 24,
            "decoder": "1-1-1",
            "base_width": 64,
            "expert_width": 8,
            "experts": 2,
            "leaders": 4,
        },
        "demo": {
            "image_size": 128,
            "batch_size": 8,
            "epochs": 0,
            "steps": DEMO_SLICES // 8,
            "width": 96,
            "decoder": "1-1-1",
            "base_width": 64,
            "expert_width": 32,
            "experts": 4,
            "leaders": 8,
        },
    },
    missing="native",
    checkpoint=("c_moes.0.conv_share.0.weight", "0.conv_share.0.weight", "1.final.0.weight", "input_embedding"),
    weights={"published": _WIDE, "package": _LITE},
    backbones={
        "wide_resnet50_2": {"published": _WIDE},
        "resnet18": {"published": "resnet18.tv_in1k"},
        "efficientnet_lite0": {"published": "efficientnet_lite0.ra_in1k", "package": _LITE},
    },
    citation='Zhao et al., "UniMMAD: Unified Multi-Modal and Multi-Class Anomaly Detection via MoE-Driven Feature '
    'Decompression", CVPR 2026, arXiv 2509.25934.',
    code_licence="Apache-2.0 according to its README, without a licence file",
    departures=(
        "One model is trained on one data set; the publication trains one on 39 classes.",
        "Sequences are FLAIR, T1, T1ce and T2 in this order; the publication's order per slice is in a file list that "
        "could not be read.",
        "A missing sequence is absent, and the others move to the front, as in the released loader; the publication "
        "trains and tests BraTS with all four.",
        "The map of a slice is computed from that slice alone; the released function merges the slices of a batch.",
        "The last step's network is scored; the released code prints test results every 10 epochs and has no rule.",
        "Everything runs in the harness's precision; the released bf16 reaches the stem alone.",
        "The encoder's fourth stage, whose output the publication discards, does not exist.",
        "Rate and load-balancing weight change 200 times in equal shares of the training, as in the published epochs.",
        "With a backbone other than Wide ResNet-50-2 the features have its own widths.",
    ),
    parity="anyadbench_rivals.unimmad.parity:reproduce",
    families=("rivals",),
)

UNIMMAD_MODDROP = replace(
    UNIMMAD,
    name="unimmad-moddrop",
    title="UniMMAD (sequence dropout)",
    summary="UniMMAD with a slot for each sequence, trained on random subsets of them.",
    params=tuple(
        replace(p, default={"layout": "slots", "pictures": "mean"}[p.name]) if p.name in ("layout", "pictures") else p
        for p in UNIMMAD.params
    ),
    training_mask="per-sample",
    departures=(
        "Each sequence has a slot of its own, training hides random sequences, and the map is a mean over the shown "
        "ones; the publication packs sequences to the front, hides none and sums.",
        *(text for text in UNIMMAD.departures if not text.startswith("A missing sequence")),
    ),
    parity="",
)
