"""Distances of features, as losses and as maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyadbench.methods.distances import (
    cosine_distance,
    flat_cosine_loss,
    mean_cosine_loss,
    mined_cosine_loss,
)
from anyadbench.methods.maps import distance_map, to_scores
from anyadbench.methods.precision import full_precision


def levels(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, s, s, generator=generator, dtype=torch.float64) for c, s in ((3, 8), (5, 4))]


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def test_distances_are_taken_at_every_place_or_over_the_whole_level() -> None:
    first, second = levels(0), levels(1)
    here = 1 - cosine(first[0][1, :, 2, 3], second[0][1, :, 2, 3])
    torch.testing.assert_close(cosine_distance(first[0], second[0])[1, 2, 3], here)
    flat = sum(
        torch.stack([1 - cosine(a, b) for a, b in zip(x, y, strict=True)]).mean()
        for x, y in zip(first, second, strict=True)
    )
    torch.testing.assert_close(flat_cosine_loss(first, second), flat)
    mean = sum(cosine_distance(x, y).mean() for x, y in zip(first, second, strict=True))
    torch.testing.assert_close(mean_cosine_loss(first, second), mean)


def test_a_map_is_the_sum_of_the_enlarged_levels() -> None:
    first, second = levels(0), levels(1)
    parts = [cosine_distance(x, y)[:, None] for x, y in zip(first, second, strict=True)]
    expected = sum(F.interpolate(part, (16, 16), mode="bilinear", align_corners=True) for part in parts)
    torch.testing.assert_close(distance_map(first, second, (16, 16)), expected[:, 0])  # type: ignore[index]


def test_an_image_score_is_the_highest_pixel_or_left_to_the_harness() -> None:
    maps = torch.rand(3, 8, 8)
    assert torch.equal(to_scores(maps, "max").images, maps.amax((1, 2)))  # type: ignore[arg-type]
    assert to_scores(maps, "top").images is None


def test_distances_are_never_taken_in_half_precision() -> None:
    first, second = ([x.to(torch.bfloat16) for x in levels(seed)] for seed in (0, 1))
    assert mean_cosine_loss(first, second).dtype == torch.float32
    product = full_precision(lambda a, b: a @ b)
    one = torch.rand(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (one @ one).dtype == torch.bfloat16
        assert product(one, one).dtype == torch.float32


def test_mining_stops_the_gradient_of_easy_places_alone() -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 5, 4, 4)
    output = torch.randn(2, 5, 4, 4, requires_grad=True)
    (everything,) = torch.autograd.grad(mined_cosine_loss([target], [output], -100.0), output)
    (mined,) = torch.autograd.grad(mined_cosine_loss([target], [output], 0.5), output)
    here = cosine_distance(target, output.detach())
    easy = here < here.mean() + 0.5 * here.std()
    assert easy.any() and not easy.all()
    assert torch.equal(mined, everything * ~easy[:, None])
