"""Models that learn to find anomalies that they simulate themselves."""

from __future__ import annotations

from anyadbench.api import DEMO_SLICES, Param, Value
from anyadbench_anomalib.catalogue.entry import CHOICE, LITE_LEVELS, VITS, Model, choices, convolutional, own

_TINY: dict[str, Value] = {"image_size": 64, "batch_size": 2, "epochs": 0, "steps": 2}


def _demo(size: int, batch: int, **more: Value) -> dict[str, Value]:
    return {"image_size": size, "batch_size": batch, "epochs": 0, "steps": DEMO_SLICES // batch, **more}


SIMULATED = (
    Model(
        name="supersimplenet",
        cls="Supersimplenet",
        fixed=("feature_extractor",),
        title="SuperSimpleNet",
        summary="Segments Gaussian noise added to features in random blobs.",
        citation='Rolih et al., "SuperSimpleNet: Unifying Unsupervised and Supervised Learning for Fast and Reliable '
        'Surface Defect Detection", ICPR 2024, arXiv 2408.03143.',
        weights=convolutional("wide_resnet50_2.tv_in1k"),
        backbones=choices("resnet18", "resnet50")
        | {"wide_resnet50_2": {"published": "wide_resnet50_2.tv_in1k", "package": None}},
        architecture=("backbone",),
        levels=("layers", (2, 3)),
        own=(own("perlin_threshold", 0.2, "Threshold of the noise that makes blobs", 0),),
        least=128,
        training=(32, 300, 0),
        source="the advice in anomalib's README",
        scheduled=True,
        tiny=_TINY | {"image_size": 128},
        demo=_demo(128, 8),
        departures=(LITE_LEVELS,),
    ),
    Model(
        name="general_ad",
        cls="GeneralAD",
        fixed=("feature_extractor",),
        title="GeneralAD",
        summary="An attention discriminator separates features of normal patches from distorted ones.",
        citation='Strater et al., "GeneralAD: Anomaly Detection Across Domains by Attending to Distorted Features", '
        "ECCV 2024, arXiv 2407.12427.",
        size=518,
        multiple=14,
        weights={"published": "vit_large_patch14_dinov2.lvd142m", "package": VITS},
        architecture=("backbone",),
        own=(
            own("hidden_dim", 2048, "Width inside the discriminator", 1),
            own("lr", 5e-4, "Learning rate of AdamW", 0),
            own("lr_decay_factor", 0.2, "Last learning rate, relative to the first", 0),
            own("weight_decay", 1e-5, "Weight decay", 0),
            own("noise_std", 0.25, "Standard deviation of the noise on features", 0),
            own("dsc_layers", 1, "Layers of the discriminator", 1),
            own("dsc_heads", 4, "Heads of the discriminator", 1),
            own("dsc_dropout", 0.1, "Dropout of the discriminator", 0),
            own("num_fake_patches", -1, "Number of distorted patches, -1 for all"),
            Param(
                "fake_feature_type",
                "random",
                "How patches are distorted; anomalib's default.",
                choices=("random", "attn", "copy_out", "shuffle", "randshuffle"),
            ),
            own("top_k", 10, "Patches whose mean is the image score", 1),
        ),
        training=(32, 160, 0),
        source="lightning_model.py",
        scheduled=True,
        tiny={"image_size": 56, "batch_size": 2, "epochs": 0, "steps": 2, "hidden_dim": 32},
        demo=_demo(168, 8),
        departures=("The features come from the encoder's last block, which in anomalib's ViT-L is the 24th.",),
    ),
    Model(
        name="glass",
        cls="Glass",
        fixed=("forward_modules.feature_aggregator",),
        title="GLASS",
        summary="Separates normal features from features moved by gradient ascent towards the edge of the normal ones.",
        citation='Chen et al., "A Unified Anomaly Synthesis Strategy with Gradient Ascent for Industrial Anomaly '
        'Detection and Localization", ECCV 2024, arXiv 2407.09359.',
        size=288,
        weights=convolutional("wide_resnet50_2.racm_in1k"),
        backbones=choices(),
        architecture=("backbone",),
        levels=("layers", (2, 3)),
        own=(
            own("pretrain_embed_dim", 1536, "Width to which each level is pooled", 1),
            own("target_embed_dim", 1536, "Width of a patch's feature", 1),
            own("discriminator_hidden", 1024, "Width inside the discriminator", 1),
            own("learning_rate", 1e-4, "Learning rate of the projection; the discriminator's is twice that", 0),
            own("step", 20, "Steps of gradient ascent", 1),
            own("gaussian_noise_std", 0.015, "Standard deviation of the noise on features", 0),
            own("radius_quantile", 0.75, "Quantile of the distances that bounds the normal features", 0),
            own("mining", True, "Whether gradient ascent is used"),
        ),
        training=(32, 100, 0),
        source="anomalib's example configuration",
        tiny=_TINY | {"pretrain_embed_dim": 32, "target_embed_dim": 32, "discriminator_hidden": 16, "step": 5},
        demo=_demo(128, 4, pretrain_embed_dim=256, target_embed_dim=256, discriminator_hidden=256),
        departures=(
            LITE_LEVELS,
            "Pasted textures are noise, as in anomalib without a folder of textures; the publication pastes DTD.",
        ),
    ),
    Model(
        name="draem",
        cls="Draem",
        title="DRAEM",
        summary="Repairs pasted textures and segments them from the image and its repair.",
        citation='Zavrtanik et al., "DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly '
        'Detection", ICCV 2021, arXiv 2108.07610.',
        own=(own("enable_sspcab", False, "Whether the SSPCAB block is used"),),
        training=(32, 700, 0),
        source=CHOICE,
        normalised=False,
        scheduled=True,
        tiny=_TINY | {"image_size": 32, "steps": 1},
        demo=_demo(96, 2),
        files={"dtd": "the folder of the Describable Textures Dataset, dtd-r1.0.1.tar.gz unpacked"},
    ),
    Model(
        name="dsr",
        cls="Dsr",
        fixed=("discrete_latent_model",),
        title="DSR",
        summary="Segments anomalies made in the quantised feature space of a pretrained autoencoder.",
        citation='Zavrtanik et al., "DSR: A Dual Subspace Re-Projection Network for Surface Anomaly Detection", '
        "ECCV 2022.",
        own=(
            own("latent_anomaly_strength", 0.2, "Strength of the simulated anomalies", 0),
            own("upsampling_train_ratio", 0.7, "Fraction of the training before the upsampling module is trained", 0),
        ),
        training=(32, 700, 0),
        source=CHOICE,
        normalised=False,
        tiny=_TINY | {"epochs": 0, "steps": 12, "batch_size": 8},
        demo=_demo(96, 8),
        files={
            "dsr/vq_model_pretrained_128_4096.pckl": "the quantised autoencoder of anomalib's dsr_pretrained_weights"
        },
    ),
    Model(
        name="efficient_ad",
        cls="EfficientAd",
        fixed=("teacher",),
        title="EfficientAD",
        summary="A small student and an autoencoder imitate a small distilled teacher.",
        citation='Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", '
        "WACV 2024, arXiv 2303.14535.",
        own=(
            Param("model_size", "small", "Size of the networks; anomalib's default.", choices=("small", "medium")),
            own("lr", 1e-4, "Learning rate of Adam", 0),
            own("weight_decay", 1e-5, "Weight decay", 0),
        ),
        training=(1, 0, 70_000),
        source="anomalib's example configuration",
        normalised=False,
        scheduled=True,
        tiny={"image_size": 256, "steps": 2},
        demo=_demo(256, 1),
        departures=(
            "Maps are normalised by quantiles over the training normals at the last step; anomalib uses normal images "
            "of its validation set, which may be test images.",
        ),
        files={
            "efficientad_pretrained_weights": "anomalib's archive of that name unpacked, with "
            "pretrained_teacher_small.pth",
            "imagenette": "the folder of ImageNette, imagenette2.tgz unpacked",
        },
    ),
)
