"""The phantom's lesions: kinds, sizes, outlines, displacement, and subjects who have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from anyadbench.data.phantom import PhantomSpec, digest, generate, subject_id, synthesise
from anyadbench.data.phantom.anatomy import template
from anyadbench.data.phantom.embedded import EMBEDDED, embedded
from anyadbench.data.phantom.grid import block
from anyadbench.data.phantom.head import _displace, grow
from anyadbench.data.phantom.pathology import KINDS, Site, plan
from anyadbench.data.phantom.spec import FIRST_HEALTHY, missing_sequence
from anyadbench.data.trees.layouts import get_layout

TINY = PhantomSpec.tiny(healthy=3)


@pytest.fixture(scope="module")
def plans() -> list[list[Site]]:
    """Return the lesions of every patient of the phantom, on a coarse atlas."""
    spec = EMBEDDED["phantom"]
    atlas = template(3, 5.0)
    return [plan(spec, number, atlas) for number in range(1, spec.subjects + 1)]


def millilitres(site: Site) -> float:
    return float(4 / 3 * np.pi * np.prod(site.radii) / 1000)


def test_every_kind_of_lesion_occurs_and_a_patient_has_one_kind(plans: list[list[Site]]) -> None:
    kinds = [{site.kind for site in sites} for sites in plans]
    assert all(len(own) == 1 for own in kinds)
    assert set.union(*kinds) == set(KINDS)


def test_sizes_span_a_tenth_of_a_millilitre_to_a_tumour(plans: list[list[Site]]) -> None:
    sizes = [millilitres(site) for sites in plans for site in sites]
    assert min(sizes) < 0.15
    assert max(sizes) > 40
    assert 0.05 < np.mean([size < 1 for size in sizes]) < 0.7


def test_only_expanding_lesions_displace_their_surroundings(plans: list[list[Site]]) -> None:
    for site in (site for sites in plans for site in sites):
        assert (site.push > 0) == (site.kind in ("glioma", "low-grade", "metastases"))


def test_tissue_is_pushed_outwards_most_at_the_border_and_hardly_far_away() -> None:
    grid = block(replace(TINY, shape=(96, 96, 60), spacing=(2.5, 2.5, 2.5)))
    site = Site("glioma", np.zeros(3, np.float32), np.full(3, 20.0), 0.0, 1.0, 6.0)
    source = np.zeros((3, *grid.shape), np.float32)
    _displace(source, site, grid)
    x = grid.axes()[0].ravel()
    middle = [size // 2 for size in grid.shape]
    moved = -source[0, :, middle[1], middle[2]] * np.sign(x)
    assert (moved >= 0).all(), "what is outside comes from nearer to the centre"
    at = {distance: moved[np.argmin(np.abs(x - distance))] for distance in (20, 40, 80)}
    assert 4.5 < at[20] < 7.5
    assert at[80] < 0.3 * at[40] < at[20]


def test_healthy_subjects_have_no_label_and_no_lesion() -> None:
    for number in range(FIRST_HEALTHY, FIRST_HEALTHY + 3):
        assert not synthesise(TINY, number)["seg"].any()
        assert grow(TINY, number, block(TINY)).sites == ()


def test_healthy_subjects_are_named_so_and_known_to_the_layouts(tmp_path: Path) -> None:
    spec = PhantomSpec.tiny(subjects=1, healthy=1)
    folder = generate(tmp_path, spec) / "HGG"
    assert sorted(path.name for path in folder.iterdir()) == ["Phantom-H_001_1", "Phantom_001_1"]
    for name in EMBEDDED:
        assert get_layout(name).is_healthy(subject_id(FIRST_HEALTHY))
        assert not get_layout(name).is_healthy(subject_id(1))


def test_healthy_heads_do_not_depend_on_the_patients() -> None:
    alone = replace(TINY, subjects=1)
    first, second = synthesise(TINY, FIRST_HEALTHY + 1), synthesise(alone, FIRST_HEALTHY + 1)
    assert all(np.array_equal(first[key], second[key]) for key in first | second)
    other = synthesise(TINY, FIRST_HEALTHY + 2)
    assert not any(np.array_equal(first[key], other[key]) for key in (first.keys() & other.keys()) - {"seg"})


def test_healthy_subjects_have_all_sequences() -> None:
    for spec in EMBEDDED.values():
        assert {missing_sequence(spec, number) for number in spec.numbers if number >= FIRST_HEALTHY} == {None}


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_patients_are_the_same_without_the_healthy_subjects(name: str) -> None:
    whole, alone = (embedded(name, healthy) for healthy in (True, False))
    assert whole == EMBEDDED[name] and digest(whole) != digest(alone)
    assert alone.numbers == tuple(number for number in whole.numbers if number < FIRST_HEALTHY)
    coarse = [replace(spec, shape=(48, 48, 20), spacing=(4.5, 4.5, 7.5)) for spec in (whole, alone)]
    first, second = (synthesise(spec, 2) for spec in coarse)
    assert all(np.array_equal(first[key], second[key]) for key in first | second)


def test_no_head_is_in_two_phantoms() -> None:
    seeds = [spec.seed for spec in EMBEDDED.values()]
    assert len(set(seeds)) == len(seeds)
    assert 0 not in seeds, "heads of seed 0 were looked at while contrasts were set"


@pytest.mark.parametrize("shift", [False, True])
def test_lesions_end_within_the_head_and_taper(shift: bool) -> None:
    spec = replace(TINY, shift=shift, shape=(64, 64, 40), spacing=(3.4, 3.4, 3.8))
    for number in range(1, 7):
        volumes = synthesise(spec, number)
        area = (volumes["seg"] > 0).sum((0, 1))
        brain = next(volume for name, volume in volumes.items() if name != "seg") > 0
        heights = np.flatnonzero(area)
        assert brain.any((0, 1))[heights[0] - 1 : heights[-1] + 2].all()
        if len(heights) >= 4:
            assert max(area[heights[0]], area[heights[-1]]) < 0.75 * area.max()


def test_every_lesion_that_is_planned_is_seen() -> None:
    spec = replace(EMBEDDED["phantom-dev"], shape=(96, 96, 40), spacing=(2.5, 2.5, 3.75))
    for number in (1, 2, 4):
        _, count = ndimage.label(synthesise(spec, number)["seg"], np.ones((3, 3, 3)))
        assert count >= 1
