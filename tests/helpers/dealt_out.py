"""How ``make test-all`` divides the tests among two processes."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

SHARED = (
    "baselines/test_all",
    "testing/test_conformance",
    "engine/test_leak",
    "protocols/test_runs",
    "anomalib/test_models",
)
"""Files with long, independent slow tests, which are distributed one by one."""

HEAVY = "_at_the_authors_size"
"""End of the names of tests that start a process of ten gigabytes or so; no two of them run at once."""


def is_heavy(nodeid: str) -> bool:
    """Return whether a test starts such a process."""
    return nodeid.partition("[")[0].endswith(HEAVY)


def scope_of(nodeid: str) -> str:
    """Return a name that tests share if one process takes them all, one after another."""
    if is_heavy(nodeid):
        return HEAVY
    file = nodeid.partition("::")[0]
    return nodeid if file.removeprefix("tests/").removesuffix(".py") in SHARED else file


class DealtOut(LoadScopeScheduling):
    """Keeps the tests of a file together, except for those of the shared files and the heavy ones."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
