"""The emulated boards come first, each in a worker of its own: they take longest."""

import os
from itertools import chain, islice

import pytest
from arm.emulated_board import CPUS


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put each board's tests where a worker begins: workers get equal stretches, in order."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    boards = [[item for item in items if cpu_of(item) == cpu] for cpu in CPUS]
    others = (item for item in items if cpu_of(item) is None)
    ordered = []
    for worker in range(workers):
        ordered += chain.from_iterable(boards[worker::workers])
        ordered += islice(others, max(0, len(items) * (worker + 1) // workers - len(ordered)))
    items[:] = [*ordered, *others]


def cpu_of(item):
    """Return the board that a test is about, or None."""
    if item.get_closest_marker("arm") is None:
        return None
    return item.callspec.params["cpu"]
