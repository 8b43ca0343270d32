"""Descriptors of the methods that reconstruct the slice itself."""

from __future__ import annotations

from anyadbench.api import DEMO_SLICES, MISSING, MethodDescriptor, Param
from anyadbench_baselines.catalogue.shared import (
    BACKBONES,
    ENCODER,
    LITE,
    MISSING_ZERO,
    WIDE_V1,
    image_size,
    positive,
    smoothing,
    training,
)

SHOWN_ONLY = "Loss and map average over the shown sequences; the publication always has all of them."
BLACK = "Missing sequences are background; the publication has no such case."

_DA = "src/denoising.py of AntanasKascenas/DenoisingAE"

DAE = MethodDescriptor(
    name="dae",
    title="DAE",
    summary="A U-Net learns to remove coarse noise from normal slices; whatever it changes in testing is abnormal.",
    factory="anyadbench_baselines.dae:Dae",
    params=(
        image_size(128, _DA, 8),
        *training(16, 0, 67200, _DA),
        Param("width", 64, "Channels of the finest level; src/unet.py.", minimum=8, multiple_of=8),
        positive("lr", 1e-4, f"Peak learning rate of Adam; {_DA}."),
        positive("weight_decay", 1e-5, f"Weight decay; {_DA}."),
        positive("clip_norm", 0.5, f"Total gradient norm to clip to, 0 for none; {_DA}."),
        Param("rate_every", 32, f"Steps per pseudo-epoch, after which the learning rate changes; {_DA}.", minimum=1),
        Param("rate_period", 100, f"Pseudo-epochs from the peak learning rate to 0; {_DA}.", minimum=1),
        positive("noise_std", 0.2, f"Standard deviation of the noise, in intensity units; {_DA}."),
        Param("noise_grid", 16, f"Side of the coarse grid of the noise; {_DA}.", minimum=1),
        Param("median_size", 5, f"Side of the median filter of the map; {_DA}.", choices=(1, 3, 5, 7)),
        Param(
            "image_score", "top", "Image score: top (mean of the highest 1 %) or max; choice.", choices=("top", "max")
        ),
    ),
    budgets={
        "tiny": {"image_size": 32, "batch_size": 2, "steps": 2, "width": 8, "noise_grid": 4},
        "demo": {
            "image_size": 96,
            "batch_size": 8,
            "steps": DEMO_SLICES // 8,
            "width": 16,
            "lr": 1e-3,
            "rate_every": 1,
            "rate_period": DEMO_SLICES // 8,
        },
    },
    missing="black",
    missing_policies=MISSING,
    citation='Kascenas et al., "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain MRI", MIDL 2022.',
    code_licence="unknown",
    departures=(
        BLACK,
        SHOWN_ONLY,
        "Intensities are the protocol's; the publication divides each sequence of a volume by the 99th percentile of "
        "its positive voxels.",
        "The image score is the mean of the map's highest 1 %; the publication defines none.",
        "Under the demo budget the learning rate is 1e-3, ten times the publication's, for its few steps, and falls "
        "to 0 at the last.",
    ),
    last_state_departure="The last step's network is scored; the publication keeps the one with the lowest validation "
    "loss.",
    families=("table",),
)

_GA = "main.py of WentianZhang-ML/GatingAno"

GATINGANO = MethodDescriptor(
    name="gatingano",
    title="GatingAno",
    summary="An adversarial autoencoder of slices and their gradient images, whose skips close during training.",
    factory="anyadbench_baselines.gatingano:GatingAno",
    params=(
        image_size(256, _GA, 16),
        *training(32, 600, 0, f"{_GA}, whose 200 passes contain every image three times", drop_last=True),
        Param("width", 64, "Channels of the finest level of both networks; models.py.", minimum=4),
        positive("lr", 1e-3, f"Learning rate of both Adams; {_GA} (the configuration's 1e-4 is unused)."),
        positive("weight_decay", 5e-5, f"Weight decay of both; {_GA}."),
        positive("adversarial_weight", 0.05, "Weight of the adversarial losses; train_func.py."),
        positive("gate_rate1", 0.05, f"Decrease of the deepest skip's gate per published pass; {_GA}."),
        positive("gate_rate2", 0.04, f"Decrease of the second skip's gate per published pass; {_GA}."),
        positive("gate_rate3", 0.03, f"Decrease of the third skip's gate per published pass; {_GA}."),
        positive("gate_rate4", 0.02, f"Decrease of the finest skip's gate per published pass; {_GA}."),
        Param(
            "image_score",
            "features",
            "Image score: features (distance of re-encoded features; evaluate.py uses its deviation over nine "
            "patches, which one slice does not have), top or max of the map; choice.",
            choices=("features", "top", "max"),
        ),
    ),
    budgets={
        "tiny": {"image_size": 32, "batch_size": 2, "epochs": 0, "steps": 2, "width": 4},
        "demo": {"image_size": 96, "batch_size": 8, "epochs": 0, "steps": DEMO_SLICES // 8, "width": 16},
    },
    missing="black",
    missing_policies=MISSING,
    citation='Zhang et al., "Anomaly detection via gating highway connection for retinal fundus images", '
    "Pattern Recognition, 2024, art. 110167.",
    code_licence="unknown",
    departures=(
        BLACK,
        SHOWN_ONLY,
        "The released code does not run as is; its class and option names are corrected.",
        "A whole slice replaces nine patches of a 768 px image, so the image score is the distance of "
        "re-encoded features, not its deviation over patches.",
        "Gradient images are computed at the input size for each sequence, with cells of 4, 8 or 16 px drawn per "
        "slice; the publication lists every patch three times, once with each, so three passes here equal one of "
        "its.",
        "The map averages absolute errors over channels, as meant; the released call reduces another axis on current "
        "PyTorch.",
    ),
    last_state_departure="The last step's network is scored; the publication selects on test data.",
    families=("table",),
)

_AE = "the paper as quoted in pimpraat/ae_flow"

AEFLOW = MethodDescriptor(
    name="aeflow",
    title="AE-Flow",
    summary="An autoencoder of a frozen network's features whose code passes through a normalising flow.",
    factory="anyadbench_baselines.aeflow:AeFlow",
    params=(
        ENCODER,
        image_size(256, _AE),
        *training(16, 100, 0, "choice of asiraudin/ae-flow and Urukat/AE-Flow"),
        Param("flow_blocks", 8, f"Coupling blocks; {_AE}.", minimum=1),
        Param(
            "subnet",
            "resnet",
            f"Network inside a coupling: resnet, or conv as for chest X-rays; {_AE}.",
            choices=("resnet", "conv"),
        ),
        Param("subnet_hidden", 256, "Hidden width of a conv subnet; choice of pimpraat/ae_flow.", minimum=1),
        positive("lr", 2e-3, f"Learning rate of Adam; {_AE}."),
        positive("weight_decay", 1e-5, "Weight decay; choice (the re-implementations disagree)."),
        Param("flow_weight", 0.5, f"Weight of the flow in the loss (alpha); {_AE}.", minimum=0, maximum=1),
        Param("flow_score_weight", 0.9, f"Weight of the flow in the image score (beta); {_AE}.", minimum=0, maximum=1),
        smoothing(4.0, "choice, 0 for the plain residual"),
        Param(
            "image_score",
            "flow",
            f"Image score: flow (likelihood and similarity), top or max of the map; {_AE}.",
            choices=("flow", "top", "max"),
        ),
    ),
    budgets={
        "tiny": {"image_size": 64, "batch_size": 2, "epochs": 0, "steps": 2, "flow_blocks": 2},
        "demo": {"image_size": 160, "batch_size": 8, "epochs": 0, "steps": DEMO_SLICES // 8, "flow_blocks": 4},
    },
    missing_policies=MISSING,
    weights={"published": WIDE_V1, "package": LITE},
    backbones=BACKBONES,
    citation='Zhao et al., "AE-FLOW: Autoencoders with Normalizing Flows for Medical Images Anomaly Detection", '
    "ICLR 2023, OpenReview 9OmCr1q54Z.",
    code_licence="none",
    departures=(
        MISSING_ZERO,
        SHOWN_ONLY,
        "No official code exists; three re-implementations disagree, and choices are marked in the parameters.",
        "The likelihood is divided by the number of dimensions and ln 2, as all re-implementations do.",
        "The image score takes the logarithm of the density per dimension; the paper's density itself underflows to 0.",
        "Slices are reconstructed between -1 and 1 while the encoder's input is normalised for its weights.",
        "The encoder's batch norm keeps its statistics; in the re-implementations they drift.",
        "The decoder has no batch norm and a ReLU after every convolution, as in pimpraat/ae_flow.",
        "The paper shows residuals without a rule for a map; here it is the mean absolute error, smoothed.",
        "The image score's similarity is computed on images in [0, 1], in windows of 11 px weighted by a Gaussian "
        "of 1.5 px; the paper gives only the window.",
        "If T1 and T1ce are both shown, they share a channel, whose error counts once.",
    ),
    families=("table",),
)
