"""SLURM's own commands: the queue, its limits, cancelling, and what a refusal means."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

RETRY = 5.0
"""Seconds between two tries of a command that fails; the controller may be restarting."""

TRIES = 10
PATIENCE = 120.0
"""Seconds that one command may take; SLURM's own retry for a while when the controller is lost."""

ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
)  # fmt: skip
"""States in which SLURM is done with a task."""

FULL = re.compile(r"SubmitJob|temporarily una", re.IGNORECASE)
"""Refusals because too many jobs are submitted, which pass when some have ended."""

CLOSED = (
    "SLURM takes no job of yours, since the limit of submitted jobs (MaxSubmitJobs or GrpSubmitJobs) of your "
    "association or QOS is 0; choose another one that 'sacctmgr show assoc user=$USER' lists with "
    "--launcher-option account=NAME or qos=NAME."
)

_FIXES = (
    (FULL, "wait until other jobs of yours have ended, or give the number of tasks that SLURM takes at once with "
           "--launcher-option max_submit=N"),
    (re.compile("partition", re.IGNORECASE), "choose a partition that 'sinfo -s' lists with --launcher-option "
                                             "partition=NAME"),
    (re.compile("qos", re.IGNORECASE), "choose one of yours with --launcher-option qos=NAME; 'sacctmgr show assoc "
                                       "user=$USER format=account,qos' lists them"),
    (re.compile("account", re.IGNORECASE), "choose one of yours with --launcher-option account=NAME; 'sacctmgr show "
                                           "assoc user=$USER format=account,qos' lists them"),
    (re.compile("time limit|wall", re.IGNORECASE), "ask for less time with --launcher-option time=MINUTES"),
    (re.compile("feature|constraint", re.IGNORECASE), "change --launcher-option constraint=NAME; 'sinfo -o %f' lists "
                                                      "the features of nodes"),
    (re.compile("configuration|memory|cpu count|gres|gpu", re.IGNORECASE), "ask for less with --launcher-option "
     "cpus=N, gpus=N or mem_gb=N, or choose another partition"),
    (re.compile("unable to contact|connect|socket|controller", re.IGNORECASE), "run the same command again when 'sinfo'"
                                                                               " answers"),
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How much SLURM takes; ``None`` where it does not say.

    Attributes:
        array: Tasks of one array job.
        submitted: Tasks that one user may have in the queue.
        jobs: Jobs of all users that the controller knows.
    """

    array: int | None = None
    submitted: int | None = None
    jobs: int | None = None


def read_limits(settings: Mapping[str, object]) -> Limits:
    """Ask SLURM for its limits; a command that fails or is not there gives none."""
    config = _output(["scontrol", "show", "config"])
    found = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", config, re.MULTILINE))
    own = [*_accounting(settings), *filter(None, [settings.get("max_submit")])]
    return Limits(
        int(found["MaxArraySize"]) if "MaxArraySize" in found else None,
        min(int(str(one)) for one in own) if own else None,
        int(found["MaxJobCount"]) if "MaxJobCount" in found else None,
    )


def _accounting(settings: Mapping[str, object]) -> list[int]:
    """Return the limits of submitted jobs in the accounting database, for this user's association and its QOS.

    A limit of 0 closes an association. Unless an account is chosen, a user may have several, and SLURM's default may be
    any; a closed one counts only if all of them are closed.
    """
    ask = ["sacctmgr", "--noheader", "--parsable2", "show"]
    fields = "format=Account,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
    known: list[tuple[str, list[int]]] = []
    for line in _output([*ask, "assoc", f"user={_user()}", fields]).splitlines():
        account, default, *numbers = [*line.split("|"), "", "", ""][:4]
        if settings.get("account") in (None, account):
            known.append((default, [int(number) for number in numbers if number.isdigit()]))
    taken = [one for one in known if 0 not in one[1]] or known
    found = [number for _, numbers in taken for number in numbers]
    quality = str(settings.get("qos") or "") or next((default or "normal" for default, _ in taken), "")
    for line in _output([*ask, "qos", "format=Name,MaxSubmitJobsPerUser,GrpSubmitJobs"]).splitlines():
        name, *numbers = line.split("|")
        if quality and name == quality:
            found += [int(number) for number in numbers if number.isdigit()]
    return found


def never(reason: str) -> bool:
    """Return whether SLURM refuses a single job because of this user's limit while none of theirs is in the queue."""
    return "MaxSubmit" in reason and not _count(["--user", _user()])


def room(limits: Limits, tasks: int) -> int:
    """Return how many more tasks SLURM takes now, ``tasks`` if it says nothing of a limit."""
    free = tasks
    if limits.submitted is not None:
        free = min(free, limits.submitted - _count(["--user", _user()]))
    if limits.jobs is not None:
        # The controller counts jobs that ended a while ago as well, and one for the array itself.
        free = min(free, limits.jobs - _count(["--states=all"]) - 1)
    return max(free, 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return str(os.getuid())


def _count(which: Sequence[str]) -> int:
    return len(_output(["squeue", "--noheader", "--array", "--format=%i", *which]).split())


class QueueError(Exception):
    """The queue cannot be read."""


def task_states(numbers: Sequence[str], tries: int = 0) -> dict[str, str]:
    """Return the state of each task of some jobs that SLURM still knows.

    Raises:
        QueueError: If the queue cannot be read for a while.
    """
    said = ""
    for attempt in range(tries or TRIES):
        if attempt:
            time.sleep(RETRY)
        try:
            listed = subprocess.run(
                ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(numbers)}", "--format=%i %T"],
                capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
            continue
        if listed.returncode == 0 or "Invalid job id" in listed.stderr:
            return dict(line.split(maxsplit=1) for line in listed.stdout.splitlines() if " " in line.strip())
        said = listed.stderr.strip()
    raise QueueError(" ".join(said.split())[:200])


def ended(state: str) -> bool:
    """Return whether SLURM is done with a task of a state, or does not know it any more."""
    return not state or state.split()[0] in ENDED


def may_run(numbers: Sequence[str]) -> bool:
    """Return whether any task of some jobs may still need its files: also if the queue cannot be read."""
    try:
        return not all(map(ended, task_states(numbers, tries=1).values()))
    except QueueError:
        return True


def job_numbers(names: Iterable[str]) -> list[str]:
    """Return the numbers of the array jobs that tasks belong to."""
    return list(dict.fromkeys(name.partition("_")[0] for name in names))


def cancel(numbers: Sequence[str]) -> bool:
    """Cancel jobs; return whether SLURM accepted that."""
    try:
        done = subprocess.run(["scancel", *numbers], capture_output=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def why_refused(error: Exception) -> str:
    """Return SLURM's own reason for a refusal: its first error, the next ones only repeat it in general terms."""
    found = re.findall(r"^.*?\berror:\s*(.+)$", str(error), re.MULTILINE)
    said = str(found[0]) if found else " ".join(str(error).split())
    return said.removeprefix("Batch job submission failed:").strip()[:300].rstrip(".")


def fix_of(reason: str) -> str:
    """Return what to do about a refusal."""
    for pattern, fix in _FIXES:
        if pattern.search(reason):
            return fix
    return "change --launcher-option partition, account, qos, time, cpus, gpus or mem_gb to what this cluster allows"


def _output(command: Sequence[str]) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.stdout if done.returncode == 0 else ""
    return ""
