"""Rigid registration of one sequence to another.

Mattes' mutual information (Mattes et al., IEEE TMI 22, 2003), on voxels of 8, 4, 2 and 1 mm, started from the scanner's
coordinates and from the two brains laid on each other in 125 directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.predict.prepare.views import RAS_TO_LPS, centroid, to_itk

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.predict.prepare.views import Detail, View

ANGLES = (-20, -10, 0, 10, 20)
"""Turns in degrees about each axis from which the coarse search starts."""

KEPT = 3
"""Number of starts that are optimised."""

BINS, COARSE, RIM = 40, 4, 3
"""Bins of the histogram; voxels of a view in one of the coarse level; voxels by which the brain is grown."""


SHARE = 0.08
"""Share of the small voxels that is drawn for the last level."""


def load_itk(what: str) -> Any:
    """Return SimpleITK.

    Raises:
        UserError: If it is not installed.
    """
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError:
        raise UserError(
            f"{what} needs SimpleITK: run 'pip install anyadbench[prepare]', or leave the step out of --prepare."
        ) from None
    itk.ProcessObject.GlobalWarningDisplayOff()
    return itk


@contextmanager
def default_threads(threads: int) -> Iterator[None]:
    """Let the filters that SimpleITK starts by itself have as many threads as those of this module.

    On their own they take every core: a registration then costs a quarter more, and its last digits change from run to
    run. The setting is the whole process's, so it is changed around all registrations and not in each.
    """
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError:  # whoever needs it raises the error
        yield
        return
    before = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        yield
    finally:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def find_rigid(
    fixed: View,
    moving: View,
    threads: int = 1,
    *,
    fine: bool = True,
    details: tuple[Detail | None, Detail | None] = (None, None),
) -> Float[np.ndarray, "4 4"]:
    """Return the rigid move, world to world (mm, RAS+), that lays ``moving`` on ``fixed``.

    Args:
        fixed: The reference.
        moving: What is laid on it.
        threads: CPU threads; the last digits may differ between runs, except with one within ``default_threads(1)``.
        fine: Whether to end at the voxels of the views and not at twice their size, which is faster.
        details: Both scans at smaller voxels, on which the move is refined; nothing is refined if one is missing.

    Raises:
        UserError: If SimpleITK is not installed, or the two do not overlap at all.
    """
    itk = load_itk("Registration")
    pictures = [to_itk(itk, view.values, view.grid) for view in (fixed, moving)]
    mask = itk.BinaryDilate(to_itk(itk, fixed.brain.astype(np.uint8), fixed.grid), [RIM] * 3)
    here, there = (RAS_TO_LPS[:3, :3] @ centroid(view) for view in (fixed, moving))
    begun = _search(itk, pictures, mask, here, there - here, threads)
    method = _method(itk, mask, threads, step=1.0, least=2e-3, rounds=80)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.5, 1)
    method.SetShrinkFactorsPerLevel([2, 1] if fine else [2])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0] if fine else [2.0])
    method.SetInitialTransform(begun, inPlace=True)
    _run(method, pictures)
    if details[0] is not None and details[1] is not None:
        _refine(itk, details[0], details[1], mask, threads, begun)
    return np.asarray(RAS_TO_LPS @ np.linalg.inv(_matrix(begun)) @ RAS_TO_LPS)


def _refine(itk: Any, fixed: Detail, moving: Detail, mask: Any, threads: int, begun: Any) -> None:
    """Optimise a transform on as many samples of small voxels as the views have voxels in the brain."""
    pictures = [to_itk(itk, detail.values, detail.grid) for detail in (fixed, moving)]
    method = _method(itk, mask, threads, step=0.3, least=2e-3, rounds=40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SHARE, 1)
    method.SetInitialTransform(begun, inPlace=True)
    _run(method, pictures)


def _search(itk: Any, pictures: list[Any], mask: Any, centre: np.ndarray, offset: np.ndarray, threads: int) -> Any:
    """Return the best of the optimised starts at the coarse level."""
    coarse = [itk.Shrink(itk.SmoothingRecursiveGaussian(picture, 4.0), [COARSE] * 3) for picture in pictures]
    starts = [_transform(itk, centre), *(_transform(itk, centre, turn, offset) for turn in product(ANGLES, repeat=3))]
    values = [_value(itk, coarse, mask, threads, one) for one in starts]
    chosen = dict.fromkeys([0, *np.argsort(values)[:KEPT].tolist()])
    found = []
    for index in chosen:
        method = _method(itk, mask, threads, step=4.0, least=0.05, rounds=60)
        method.SetInitialTransform(starts[index], inPlace=True)
        try:
            method.Execute(*coarse)
        except RuntimeError:  # the two do not overlap from here
            continue
        found.append((method.GetMetricValue(), index))
    if not found:
        raise _apart()
    return starts[min(found)[1]]


def _method(itk: Any, mask: Any, threads: int, *, step: float, least: float, rounds: int) -> Any:
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfThreads(threads)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        step, least, rounds, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _value(itk: Any, pictures: list[Any], mask: Any, threads: int, start: Any) -> float:
    method = _method(itk, mask, threads, step=1.0, least=1.0, rounds=1)
    method.SetInitialTransform(start, inPlace=False)
    try:
        return float(method.MetricEvaluate(*pictures))
    except RuntimeError:  # no overlap
        return np.inf


def _run(method: Any, pictures: list[Any]) -> None:
    try:
        method.Execute(*pictures)
    except RuntimeError:
        raise _apart() from None


def _apart() -> UserError:
    return UserError("No position was found in which the two scans overlap; give scans of one head.")


def _transform(
    itk: Any,
    centre: np.ndarray,
    turn: tuple[int, ...] = (0, 0, 0),
    offset: np.ndarray | None = None,
) -> Any:
    found = itk.Euler3DTransform()
    found.SetCenter(centre.tolist())
    found.SetRotation(*np.radians(turn).tolist())
    found.SetTranslation([0.0, 0.0, 0.0] if offset is None else offset.tolist())
    return found


def _matrix(transform: Any) -> Float[np.ndarray, "4 4"]:
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, move = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = turn, move + centre - turn @ centre
    return found
