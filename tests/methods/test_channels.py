"""How sequences map to the three channels of a pretrained encoder."""

from __future__ import annotations

import pytest
import torch

from anyadbench.methods.inputs import as_channels, as_rgb, channel_table
from anyadbench.methods.params import CHANNEL_LAYOUTS
from anyadbench_baselines.descriptors import INPFORMER

POLICIES = ("zero-norm", "black", "replicate")


def one_pixel(values: list[float], shown: list[bool], layout: str, policy: str = "zero-norm") -> list[float]:
    """Return the three channels of a one-pixel image before normalisation."""
    mask = torch.tensor([shown])
    images = torch.tensor(values).view(1, -1, 1, 1) * mask[:, :, None, None]
    return as_channels(images, mask, policy, layout)[0].flatten().tolist()


def test_a_descriptor_offers_every_layout_without_importing_torch() -> None:
    (param,) = (param for param in INPFORMER.params if param.name == "channels")
    assert param.choices == CHANNEL_LAYOUTS


def test_three_sequences_are_the_channels() -> None:
    for layout in ("stack", "spread"):
        assert one_pixel([1.0, 2.0, 4.0], [True] * 3, layout) == [1.0, 2.0, 4.0]


def test_stack_keeps_every_sequence_in_its_channel() -> None:
    assert one_pixel([1.0, 2.0, 4.0], [False, True, False], "stack") == [0.0, 2.0, 0.0]
    assert one_pixel([1.0, 2.0, 4.0], [False, True, False], "stack", "replicate") == [2.0, 2.0, 2.0]


def test_spread_fills_the_channels_with_what_is_shown() -> None:
    assert one_pixel([1.0, 2.0, 4.0], [False, True, False], "spread") == [2.0, 2.0, 2.0]
    assert one_pixel([1.0, 2.0, 4.0], [True, False, True], "spread") == [1.0, 4.0, 2.5]


def test_grey_is_the_mean_of_what_is_shown() -> None:
    assert one_pixel([1.0, 2.0, 4.0], [True, False, True], "grey") == [2.5, 2.5, 2.5]


def test_t1_weighted_sequences_share_a_channel_of_four() -> None:
    assert one_pixel([1.0, 2.0, 4.0, 8.0], [True] * 4, "stack") == [1.0, 3.0, 8.0]
    assert one_pixel([1.0, 2.0, 4.0, 8.0], [True, False, True, True], "stack") == [1.0, 4.0, 8.0]


@pytest.mark.parametrize("layout", CHANNEL_LAYOUTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("sequences", [1, 2, 3, 4, 5, 7])
def test_weights_of_a_channel_sum_to_one_or_nothing_and_never_use_what_is_hidden(
    layout: str, policy: str, sequences: int
) -> None:
    table = channel_table(sequences, layout, policy)
    assert [any(map(any, rows)) for rows in table] == [False] + [True] * (2**sequences - 1)
    for bits, rows in enumerate(table):
        for row in rows:
            assert sum(row) == pytest.approx(1) or sum(row) == 0
            assert all(weight == 0 or bits >> index & 1 for index, weight in enumerate(row))


def test_channels_without_anything_are_zero_after_normalisation_or_black() -> None:
    images, shown = torch.full((1, 3, 2, 2), 0.5), torch.tensor([[True, False, False]])
    images[:, 1:] = 0
    assert as_rgb(images, shown, "zero-norm")[0, 1:].abs().max() == 0
    assert as_rgb(images, shown, "black")[0, 1:].max() < -1.8


def test_only_channels_of_shown_sequences_count_as_their_own_when_others_are_filled() -> None:
    shown = torch.tensor([[True, False, True]])
    assert as_channels(torch.ones(1, 3, 2, 2), shown, "replicate")[1].tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("sequences", "runs"),
    [(5, [[0, 1], [2, 3], [4]]), (6, [[0, 1], [2, 3], [4, 5]]), (7, [[0, 1], [2, 3, 4], [5, 6]])],
)
def test_more_sequences_are_cut_into_three_runs(sequences: int, runs: list[list[int]]) -> None:
    rows = channel_table(sequences, "stack", "black")[-1]
    assert [[index for index, weight in enumerate(row) if weight] for row in rows] == runs


def test_no_sequence_and_an_unknown_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="0 sequences cannot be laid out by 'stack'; give one or more"):
        channel_table(0, "stack", "black")
    with pytest.raises(ValueError, match="3 sequences cannot be laid out by 'rainbow'; .* use stack, spread, grey"):
        channel_table(3, "rainbow", "black")
