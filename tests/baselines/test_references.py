"""Training-free reference methods: DINO-DPMM, and PatchCore with a memory per set of sequences."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from baseline_fixture import build, maps_of
from inp_fixture import Normals

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench_baselines.anypatchcore import coreset, nearest
from anyadbench_baselines.catalogue.references import ANYPATCHCORE, DPMM
from anyadbench_baselines.dpmm import DirichletMixture


def clusters(count: int = 3, each: int = 200, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(count, 1, width, generator=generator), dim=-1)
    points = centres + 0.02 * torch.randn(count, each, width, generator=generator)
    return points.flatten(0, 1)[torch.randperm(count * each, generator=generator)]


def test_the_mixtures_densities_are_those_of_weighted_gaussians() -> None:
    torch.manual_seed(0)
    x = clusters()
    mixture = DirichletMixture(x[:100], 5, 0.2, 1e-6)
    mixture.step(x[:100])
    expected = torch.stack(
        [
            torch.distributions.Normal(m, v.sqrt()).log_prob(x).sum(1)
            for m, v in zip(mixture.mean, mixture.variance, strict=True)
        ],
        dim=1,
    )
    torch.testing.assert_close(mixture.log_joint(x), mixture.log_weights() + expected, rtol=1e-3, atol=0.1)


def test_the_mixture_finds_clusters_and_empties_what_it_does_not_need() -> None:
    torch.manual_seed(0)
    x = clusters()
    mixture = DirichletMixture(x[:200], 20, 0.2, 1e-6)
    for _ in range(60):
        for part in torch.randperm(len(x)).split(200):
            mixture.step(x[part])
    weights = mixture.log_weights().exp()
    assert float(weights.sum()) == pytest.approx(1.0, abs=0.02)
    assert (weights > 0.01).sum() < 20
    means = F.normalize(mixture.mean[weights > 0.01], dim=1)
    assert float((F.normalize(x, dim=1) @ means.T).amax(1).min()) > 0.98


def normals(present: torch.Tensor) -> Normals:
    targets = torch.rand(len(present), 3, 40, 40, generator=torch.Generator().manual_seed(4))
    return Normals(targets * present[:, :, None, None], present)


@torch.no_grad()
def prepared(descriptor, present: torch.Tensor | None = None):  # type: ignore[no-untyped-def]
    method = build(descriptor).eval()
    method.prepare(normals(torch.ones(8, 3, dtype=torch.bool) if present is None else present))
    return method


@torch.no_grad()
def test_dpmm_averages_the_distances_of_shown_sequences() -> None:
    method = prepared(DPMM)
    images = torch.rand(1, 3, 40, 40)

    of = partial(maps_of, method, images)
    alone = [of(True, False, False), of(False, True, False), of(False, False, True)]
    torch.testing.assert_close(of(True, True, True), torch.stack(alone).mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(of(True, False, True), (alone[0] + alone[2]) / 2, rtol=1e-4, atol=1e-6)
    assert of(True, False, False).shape == (1, 4, 4)


@torch.no_grad()
def test_dpmm_gives_no_score_to_a_patch_that_is_a_component() -> None:
    method = prepared(DPMM)
    batch = Batch(torch.rand(1, 3, 40, 40), torch.tensor([[True, False, False]]))
    method.means[0, : method.features(batch).shape[1] // 2] = method.features(batch)[0, :8]
    method.weights[0] = 0.1
    assert float(method.score(batch).maps.flatten()[:8].abs().max()) < 1e-5


def test_a_sequence_without_training_scans_is_refused() -> None:
    present = torch.tensor([[True, True, False]] * 4)
    method = prepared(DPMM, present)
    with pytest.raises(UserError, match="No training scan has the sequence t2, so dpmm has no mixture for it"):
        method.score(Batch(torch.rand(1, 3, 40, 40), torch.ones(1, 3, dtype=torch.bool)))
    method = prepared(ANYPATCHCORE, present)
    with pytest.raises(UserError, match=r"No training scan has all of F\+T2, so anypatchcore has no memory for it"):
        method.score(Batch(torch.rand(1, 3, 40, 40), torch.tensor([[True, False, True]])))


def test_the_coreset_takes_the_farthest_point_each_time() -> None:
    torch.manual_seed(0)
    points = torch.cat([torch.zeros(50, 4), torch.full((1, 4), 9.0), torch.full((1, 4), -5.0)])
    chosen = coreset(points + 1e-3 * torch.randn_like(points), 3 / 52)
    assert sorted(chosen.mean(1).round().tolist()) == [-5, 0, 9]


def test_the_nearest_distance_is_the_squared_euclidean_one() -> None:
    points, memory = torch.randn(11, 5), torch.randn(7, 5)
    expected = torch.cdist(points, memory).square().amin(1)
    torch.testing.assert_close(nearest(points, memory, chunk=4), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_set_of_sequences_has_a_memory_of_slices_that_have_it() -> None:
    present = torch.ones(8, 3, dtype=torch.bool)
    present[:6, 1] = False
    method = prepared(ANYPATCHCORE, present)
    sizes = {name: len(value) for name, value in method.named_buffers() if name.startswith("memory_")}
    assert len(sizes) == 7 and all(sizes.values())
    assert sizes["memory_0"] == 4 * sizes["memory_1"] == 4 * sizes["memory_0_1_2"]


@torch.no_grad()
def test_a_training_patch_in_the_memory_of_its_set_has_no_distance_and_in_others_has() -> None:
    method = build(ANYPATCHCORE, coreset=1.0, candidates=10_000).eval()
    data = normals(torch.ones(3, 3, dtype=torch.bool))
    method.prepare(data)
    for shown in ([True, False, False], [True, True, False], [True, True, True]):
        mask = torch.tensor([shown] * 3)
        batch = Batch(data.targets * mask[:, :, None, None], mask)
        assert float(method.score(batch).images.max()) < 1e-3
    method.memory_0_1_2 = method.memory_0
    assert float(method.score(batch).images.min()) > 1e-3
