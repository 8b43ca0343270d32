"""UniTransAD as a method: any subset, no label, and its traps and edge cases."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from baseline_fixture import Loop, build, count, fitted
from inp_fixture import GRID, SEQUENCES, training_batch

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench_rivals.descriptors import UNITRANSAD, UNITRANSAD_FLAIR
from anyadbench_rivals.unitransad import cycle, training
from anyadbench_rivals.unitransad.augmentation import augment
from anyadbench_rivals.unitransad.contrast import contrastive_loss
from anyadbench_rivals.unitransad.edges import edge_maps, tissue
from anyadbench_rivals.unitransad.fusion import fuse_sources, fuse_targets
from anyadbench_rivals.unitransad.network import NetworkSize, UniTransNetwork
from anyadbench_rivals.unitransad.schedule import epoch_factor, warm_flat_cosine


def slices(size: int = 2, sequences: int = 3, seed: int = 4) -> torch.Tensor:
    return torch.rand(size, sequences, *GRID, generator=torch.Generator().manual_seed(seed))


def score(method, images: torch.Tensor, *shown: bool) -> torch.Tensor:  # type: ignore[no-untyped-def]
    mask = torch.tensor(shown).expand(len(images), -1)
    with torch.no_grad():
        return method.score(Batch(images * mask[:, :, None, None], mask)).maps


def test_the_published_network_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = UniTransNetwork(NetworkSize())
    assert count(network) == 5_216_896
    assert sum(buffer.numel() for buffer in network.buffers()) == 196_800 + 512


def test_every_source_and_target_has_its_own_map() -> None:
    method = fitted(UNITRANSAD)
    images = slices()
    source = cycle.encode_source(method.network, *(x[:, 0] for x in method.pictures(training_batch(size=2))))
    assert set(method.source_maps(source, "flair")) == {"t1", "t2"}
    assert score(method, images, True, False, False).shape == (2, 32, 32)


def test_hidden_sequences_and_neighbours_in_a_batch_reach_no_score() -> None:
    method = fitted(UNITRANSAD)
    images = slices(3)
    mixed = torch.tensor([[True, False, False], [True, True, True], [False, True, True]])
    with torch.no_grad():
        together = method.score(Batch(images * mixed[:, :, None, None], mixed)).maps
    for row, shown in enumerate(mixed.tolist()):
        assert torch.allclose(score(method, images[row : row + 1], *shown), together[row], atol=1e-6)


def test_a_source_never_is_its_own_target_while_there_is_another() -> None:
    method = fitted(UNITRANSAD)
    assert method.targets("t1") == ["t2", "flair"]
    assert method.targets("pd") == ["t1", "t2", "flair"]


def test_a_target_that_was_never_seen_is_no_style_of_zeros() -> None:
    """``load_state_dict(strict=False)`` lets an absent memory pass, and the published tuning then uses zeros."""
    method = fitted(UNITRANSAD)
    assert "t1ce" not in method.targets("flair")
    assert not method.network.remembered("t1ce", 1).mean.any()


def test_without_a_target_in_the_memory_the_own_style_is_used() -> None:
    method = fitted(UNITRANSAD, steps=0)
    assert method.targets("flair") == []
    source = cycle.encode_source(method.network, *(x[:, 0] for x in method.pictures(training_batch(size=2))))
    (name,) = method.source_maps(source, "flair")
    assert name == "flair"
    assert torch.isfinite(score(method, slices(), True, False, False)).all()


def test_a_published_checkpoint_is_read_strictly() -> None:
    method = build(UNITRANSAD)
    state = {name: torch.full_like(value, 0.5) for name, value in method.network.state_dict().items()}
    tables = {name: method.network.get_buffer(name) for name in ("pos_embed", "decoder_pos_embed")}
    assert any(entry in state for entry in UNITRANSAD.checkpoint)
    old = {name.replace("dspm_t1_", "brats_t1_ema_"): value for name, value in state.items()}
    method.load_published(old | tables)
    assert method.targets("flair") == ["t1", "t2", "t1ce"]
    with pytest.raises(UserError, match="The published checkpoint lacks 'dspm_t2_std'"):
        method.load_published({name: value for name, value in state.items() if name != "dspm_t2_std"})


def test_a_checkpoint_of_another_input_is_refused() -> None:
    """No other entry depends on the size of the input."""
    method = build(UNITRANSAD)
    larger = build(UNITRANSAD, image_size=64).network
    state = {**larger.state_dict(), "pos_embed": larger.get_buffer("pos_embed")}
    with pytest.raises(UserError, match=r"has positions in 'pos_embed' of another input than image_size 32; run with"):
        method.load_published(state)


def test_a_slice_without_tissue_scores_nothing() -> None:
    method = fitted(UNITRANSAD)
    images = slices()
    images[0] = 0
    maps = score(method, images, True, True, True)
    assert (maps[0] == 0).all() and maps[1].std() > 0
    assert torch.isfinite(score(method, torch.full_like(images, 0.4), True, True, True)).all()


def test_a_source_without_tissue_does_not_dilute_the_others() -> None:
    method = fitted(UNITRANSAD)
    images = slices()
    alone = score(method, images, True, False, False)
    images[:, 1] = 0
    assert torch.allclose(score(method, images, True, True, False), alone, atol=1e-6)


def test_scaling_per_slice_never_raises_a_map_above_the_pixel_error() -> None:
    """A normal slice whose contents agree nearly everywhere still gets weights from 0 to 1, but of its own error."""
    generator = torch.Generator().manual_seed(1)
    before = torch.randn(1, 16, 8, generator=generator)
    after = before + 1e-6 * torch.randn(1, 16, 8, generator=generator)
    inside = torch.ones(1, 16, dtype=torch.bool)
    found = cycle.agreement(before, after, inside)
    assert found.min() == 0 and found.max() == 1  # for a difference of nothing
    assert cycle.agreement(before, after, inside, "absolute").min() > 0.999
    method = fitted(UNITRANSAD)
    source = cycle.encode_source(method.network, *(x[:, 0] for x in method.pictures(training_batch(size=2))))
    with torch.no_grad():
        one = cycle.run_cycle(method.network, source, source.style)
        plain = cycle.run_cycle(method.network, source, source.style, "off")
    assert (one.maps <= one.error).all() and (one.maps >= 0).all()
    assert torch.equal(plain.maps, one.error)


def test_identical_contents_agree_by_nothing_as_published() -> None:
    same = torch.ones(1, 4, 8)
    inside = torch.tensor([[True, True, True, False]])
    assert (cycle.agreement(same, same, inside) == 0).all()
    assert torch.allclose(cycle.agreement(same, same, inside, "absolute"), inside.float())


def test_every_sequence_gets_edges_of_its_own_picture() -> None:
    """The published script copies the last channel, which in IXI is the PD picture itself."""
    images = slices(1, 3)
    found = edge_maps(images[0])
    for index in range(3):
        assert torch.allclose(found[index], edge_maps(images[0, index][None])[0])
        assert not torch.allclose(found[index], images[0, index], atol=0.1)
    assert found.min() == 0 and found.max() == 1


def test_edges_of_a_flat_slice_are_zero() -> None:
    assert (edge_maps(torch.full((2, 8, 8), 0.7)) == 0).all()


def test_a_bright_constant_patch_is_background() -> None:
    images = torch.full((1, 8, 16), 0.9)
    images[0, 3, 12] = 0.1
    assert tissue(images, 8).tolist() == [[False, True]]


def test_background_counts_in_the_contrastive_loss_and_no_tissue_costs_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 1, 64, 16, generator=generator)
    some = torch.zeros(1, 64, dtype=torch.bool)
    assert contrastive_loss(first, second, some, some) == 0
    some[:, :2] = True
    alone = contrastive_loss(first[:, :2], second[:, :2], some[:, :2], some[:, :2])
    assert contrastive_loss(first, second, some, some) > alone + 62 * 4 / 2


@pytest.mark.parametrize("names", [("flair", "t1", "t1ce", "t2"), ("dwi", "pd", "t2", "t1")])
def test_the_first_of_a_pair_is_the_earlier_one_of_the_published_order(names: tuple[str, ...]) -> None:
    published = [name for name in ("t1", "t2", "t1ce", "flair", "dwi", "pd") if name in names]
    network = build(UNITRANSAD).network
    with torch.no_grad():
        encoded = training.encode_batch(network, torch.rand(2, 4, 32, 32), torch.ones(2, 4, dtype=torch.bool))

        def loss(one: str, other: str) -> torch.Tensor:
            first, second = (encoded.rows[:, names.index(name)] for name in (one, other))
            contents = encoded.content[first][:, 1:], encoded.content[second][:, 1:]
            return contrastive_loss(*contents, encoded.tissue[first], encoded.tissue[second])

        found = torch.stack(training.contrastive_pairs(encoded, names))
        pairs = list(combinations(published, 2))
        assert torch.equal(found, torch.stack([loss(one, other) for one, other in pairs]))
        assert not torch.allclose(found, torch.stack([loss(other, one) for one, other in pairs]))


def test_a_slice_takes_the_drawn_source_or_the_next_one_that_it_has() -> None:
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True, True], [True, True, True, True], [False, True, False, False]])
    drawn = torch.stack([training.draw_sources(present) for _ in range(60)])
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert (drawn[:, 2] == 1).all()
    assert {int(value) for value in drawn[:, 0, 0]} == {0, 1, 2, 3}  # the target itself included


@pytest.mark.parametrize("hidden", [(), ((0, 1), (1, 0), (2, 0), (2, 1))])
def test_it_trains_on_slices_with_any_number_of_sequences(hidden: tuple[tuple[int, int], ...]) -> None:
    method = build(UNITRANSAD)
    loop = Loop(method, 3).run(training_batch(*hidden))
    assert {"translation", "contrastive"} == set(loop.losses)
    assert all(value < 1e3 for values in loop.losses.values() for value in values)


def test_one_sequence_trains_by_translation_alone() -> None:
    method = build(UNITRANSAD, sequences=("flair",))
    images = slices(2, 1)
    losses = Loop(method, 1).run(Batch.full(images, torch.ones(2, 1, dtype=torch.bool))).losses
    assert set(losses) == {"translation"} and method.targets("flair") == []


def test_the_memory_moves_in_training_only() -> None:
    method = fitted(UNITRANSAD)
    before = method.network.remembered("flair", 1).mean.clone()
    score(method, slices(), True, True, True)
    assert torch.equal(method.network.remembered("flair", 1).mean, before) and before.any()


def test_rules_of_fusion() -> None:
    maps = torch.tensor([0.2, 0.6, 0.4]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    usable = torch.tensor([[True, True, False], [False, False, False]])
    for rule, wanted in (("mean", 0.4), ("max", 0.6), ("first", 0.2)):
        fused = fuse_sources(maps, usable, rule, SEQUENCES)
        assert torch.allclose(fused[0], torch.tensor(wanted)) and (fused[1] == 0).all()
    fused = fuse_sources(maps, torch.tensor([[False, True, True], [False, True, False]]), "first", SEQUENCES)
    assert torch.allclose(fused[:, 0, 0], torch.tensor([0.4, 0.6]))  # T2 before T1
    stacked = [maps[:, 0], maps[:, 1]]
    assert [round(float(fuse_targets(stacked, rule)[0, 0, 0]), 3) for rule in ("mean", "max", "min")] == [0.4, 0.6, 0.2]


def test_the_single_source_variant_reads_flair_alone_where_it_is_shown() -> None:
    method = fitted(UNITRANSAD_FLAIR)
    images = slices()
    assert torch.allclose(score(method, images, True, True, True), score(method, images, True, False, False), atol=1e-6)


def test_augmentation_keeps_edges_with_their_picture() -> None:
    torch.manual_seed(0)
    images = slices(3)
    marks = (images > 0.5).float()
    changed, turned = augment(images, marks)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    assert torch.allclose((changed * 255).round(), changed * 255, atol=1e-3)
    for new, edge in zip(changed.flatten(1), turned.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([new, edge]))[0, 1] > 0.3


def test_the_rate_changes_by_published_epochs() -> None:
    factor = warm_flat_cosine()
    assert [factor(step, 15) for step in range(15)] == [epoch_factor(epoch) for epoch in range(15)]
    assert factor(0, 2) == 0.5 and factor(14, 15) == pytest.approx(0.0963, abs=1e-4)


def test_a_cell_stores_the_memory() -> None:
    method = fitted(UNITRANSAD)
    again = build(UNITRANSAD)
    again.load_saved_state(method.saved_state())
    images = slices()
    assert torch.equal(score(again.eval(), images, True, True, False), score(method, images, True, True, False))
