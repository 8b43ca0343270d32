"""Jobs beside the caller: in order, bounded, with one error, and no thread left."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from functools import partial

import pytest

from anyadbench.engine.counting.in_order import AHEAD, THREAD, InOrder
from anyadbench.engine.reporter import Interrupted
from anyadbench.errors import UserError

PATIENCE = 60


def nothing() -> None:
    """Ask for no stop."""


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)]


@pytest.mark.parametrize("beside", [False, True])
def test_jobs_run_in_the_order_in_which_they_are_added(beside: bool) -> None:
    found: list[tuple[int, bool]] = []

    def job(number: int) -> Callable[[], None]:
        return lambda: found.append((number, threading.current_thread() is threading.main_thread()))

    with InOrder(beside, nothing) as counting:
        for number in range(20):
            counting.add(job(number))
    assert found == [(number, not beside) for number in range(20)]
    assert not threads()


def test_at_most_two_jobs_wait_or_run() -> None:
    release, added = threading.Event(), threading.Event()
    finished: list[int] = []

    def job(number: int) -> None:
        release.wait(PATIENCE)
        finished.append(number)

    def caller() -> None:
        with InOrder(True, nothing) as counting:
            for number in range(AHEAD + 1):
                counting.add(partial(job, number))
                if number == AHEAD - 1:
                    added.set()
            assert finished, "a third job was added before the first had ended"

    thread = threading.Thread(target=caller)
    thread.start()
    assert added.wait(PATIENCE) and not finished
    release.set()
    thread.join(PATIENCE)
    assert finished == list(range(AHEAD + 1))


def failing() -> None:
    raise UserError("The maps of s1 are damaged; score them again.")


@pytest.mark.parametrize("beside", [False, True])
def test_the_error_of_a_job_is_raised_once_with_its_own_traceback_and_nothing_runs_after_it(beside: bool) -> None:
    ran: list[int] = []
    with pytest.raises(UserError, match=r"^The maps of s1 are damaged; score them again\.$") as caught:  # noqa: SIM117
        with InOrder(beside, nothing) as counting:
            counting.add(lambda: ran.append(0))
            counting.add(failing)
            for number in range(1, 5):
                counting.add(partial(ran.append, number))
    assert ran == [0] and caught.value.__context__ is None
    assert "failing" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not threads()


def test_the_error_of_the_last_job_is_raised_at_the_end() -> None:
    with pytest.raises(UserError, match="damaged"), InOrder(True, nothing) as counting:
        counting.add(failing)


def test_the_earliest_error_is_raised_as_without_a_thread() -> None:
    reached = threading.Event()

    def late() -> None:
        reached.wait(PATIENCE)
        failing()

    with pytest.raises(UserError, match="damaged"), InOrder(True, nothing) as counting:
        counting.add(late)
        reached.set()
        raise RuntimeError("the next call of the network fails")
    assert not threads()


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_running_job_drops_the_others_and_leaves_no_thread(error: type[BaseException]) -> None:
    ran: list[int] = []
    running, release = threading.Event(), threading.Event()

    def first() -> None:
        running.set()
        release.wait(PATIENCE)
        ran.append(1)

    with pytest.raises(error):  # noqa: SIM117
        with InOrder(True, nothing) as counting:
            counting.add(first)
            counting.add(lambda: ran.append(2))
            assert running.wait(PATIENCE)
            threading.Timer(0.05, release.set).start()
            raise error
    assert ran == [1]
    assert not threads()


@pytest.mark.parametrize("beside", [False, True])
def test_a_stop_is_noticed_before_a_job_is_added(beside: bool) -> None:
    ran: list[int] = []
    asked = False

    def check() -> None:
        if asked:
            raise Interrupted

    with pytest.raises(Interrupted), InOrder(beside, check) as counting:
        counting.add(lambda: ran.append(1))
        asked = True
        counting.add(lambda: ran.append(2))
    assert 2 not in ran and not threads()
