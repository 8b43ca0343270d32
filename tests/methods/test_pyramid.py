"""Pyramids of pretrained convolutional networks."""

from __future__ import annotations

import pytest
import torch

from anyadbench.errors import UserError
from anyadbench.methods.pyramid import Pyramid, untrained
from anyadbench.weights.resolved import ResolvedWeights


def random_weights(architecture: str) -> ResolvedWeights:
    return ResolvedWeights(name="r", profile="random", architecture=architecture, kind="random")


def test_a_frozen_pyramid_stays_in_eval_mode_and_records_no_gradient() -> None:
    encoder = Pyramid(random_weights("resnet18.tv_in1k")).train()
    assert not encoder.training and not any(module.training for module in encoder.modules())
    levels = encoder(torch.rand(1, 3, 64, 64))
    assert [level.shape[-1] for level in levels] == [16, 8, 4]
    assert not any(level.requires_grad for level in levels)


def test_a_pyramid_that_is_trained_follows_the_mode() -> None:
    student = Pyramid(random_weights("resnet18.tv_in1k"), 4, frozen=False).train()
    assert student.training and student.channels == (64, 128, 256, 512)
    assert student(torch.rand(1, 3, 64, 64))[3].requires_grad


def test_a_transformer_has_no_pyramid() -> None:
    with pytest.raises(UserError, match="vit_small_patch14_dinov2.* has no features at strides 4, 8 and 16"):
        Pyramid(random_weights("vit_small_patch14_dinov2.lvd142m"))


def test_untrained_weights_are_of_the_same_architecture() -> None:
    name = "resnet18.tv_in1k"
    drawn = untrained(ResolvedWeights(name="a", profile="file", architecture=name, kind="file", path="x", sha256="y"))
    assert (drawn.kind, drawn.architecture, drawn.path) == ("random", name, None)
