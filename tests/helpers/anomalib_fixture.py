"""Building anomalib's models on random weights, and the files that some of them need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_fixture import Loop, build
from inp_fixture import Normals, training_batch

from anyadbench.methods.contract import Method
from anyadbench.plugins import load_methods

DESCRIPTORS = {
    name.removeprefix("anomalib:"): descriptor
    for name, descriptor in load_methods().items()
    if name.startswith("anomalib:")
}
RUNNABLE = [name for name, descriptor in DESCRIPTORS.items() if "Cannot be run" not in descriptor.summary]
FAST = ("padim", "stfpm")
"""Models in every test run; the others are slow together."""

installed = pytest.mark.skipif(not DESCRIPTORS or find_spec("anomalib") is None, reason="anomalib is not installed")


def tried(names: list[str]) -> list[Any]:
    """Return parameters of a test; all but a few models are marked slow."""
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def needed_files(folder: Path) -> Path:
    """Write substitutes for the files that models need: random weights and images of noise."""
    from anomalib.models.image.dsr.torch_model import DsrModel
    from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
    from torchvision.io import write_png
    from torchvision.models import efficientnet_b5

    teacher = folder / "efficientad_pretrained_weights"
    for part in (teacher, folder / "imagenette" / "class", folder / "dtd", folder / "dsr"):
        part.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(SmallPatchDescriptionNetwork(out_channels=384).state_dict(), teacher / "pretrained_teacher_small.pth")
    autoencoder = DsrModel().discrete_latent_model
    for part in autoencoder.modules():  # the library's own initialisation makes features vanish
        if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(part.weight, std=1.44 * part.weight[0].numel() ** -0.5)
    torch.save(autoencoder.state_dict(), folder / "dsr" / "vq_model_pretrained_128_4096.pckl")
    network = efficientnet_b5(weights=None)
    for part in network.modules():  # small features, as large ones explode in CS-Flow's flow
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0  # statistics of its own features
            torch.nn.init.constant_(part.weight, 0.1)
    with torch.no_grad():
        network(torch.randn(4, 3, 128, 128))
    torch.save(network.state_dict(), folder / "efficientnet_b5_lukemelas-1a07897c.pth")
    _clip_file(folder / "vit_b_16_plus_240-laion400m_e31-8fb26589.pt")
    for number in range(3):
        picture = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        write_png(picture, str(folder / "dtd" / f"{number}.png"))
        write_png(picture, str(folder / "imagenette" / "class" / f"{number}.png"))
    return folder


def _clip_file(path: Path) -> None:
    """Write random weights as saved by open_clip's training: in half precision, with a prefix, beside other entries."""
    if find_spec("open_clip") is None:
        return
    import open_clip

    network = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16-plus-240"))
    state = {f"module.{name}": tensor.half() for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 31, "state_dict": state}, path)


def normals() -> Normals:
    """Return eight training normals."""
    targets = torch.rand(8, 3, 40, 40, generator=torch.Generator().manual_seed(2))
    return Normals(targets, torch.ones(targets.shape[:2], dtype=torch.bool))


def fitted(name: str, steps: int = 2, **options: Any) -> Method:
    """Build a model, prepare it on eight slices, and train it on four."""
    method = build(DESCRIPTORS[name], **options).eval()
    with torch.no_grad():
        method.prepare(normals())
    if method.optimizers():
        Loop(method, steps, normals=normals()).run(training_batch())
    return method.eval()
