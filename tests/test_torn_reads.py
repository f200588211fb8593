"""Readers in threads while another thread changes everything: each answer is of one state.

Two samples x and -x are taught and taken back together, in classes that are equal and opposite:
whole states satisfy equations that mixtures of two states do not. EDGE_CL_NIGHTLY=1 reads longer.
"""

import contextlib
import os
import sys
import tempfile
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from crash.explore import workers
from media import FAST

from edge_cl import Durability, Learner, features_bundle

NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
READS = 1_000_000
SECONDS = 900 if NIGHTLY else 300
D = 4
X = np.random.default_rng(2).integers(-64, 65, (512, D)).astype(np.float32)
BUNDLE = features_bundle(np.concatenate([X, -X]))


@contextlib.contextmanager
def eager_threads():
    """Let threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(3e-5)  # less than a read takes
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def teach(learner, stop):
    """Change everything, in calls after each of which (1) to (4) hold."""
    i = 0
    while not stop.is_set():
        x = X[i % len(X)]
        i += 1
        learner.learn_many([x, -x], ["plus", "minus"])
        if i % 3 == 0:
            learner.undo(2)
        if i % 50 == 0:
            learner.rename_class("plus", "other")
            learner.rename_class("other", "plus")
        if i % 70 == 0 and learner.status.samples >= 4:
            learner.learn_many([x, -x] * 40, ["plus", "minus"] * 40)
            learner.undo(80)


def torn_scores(learner, probe):
    """(1) Ridge without an intercept: the scores of the two classes are equal and opposite."""
    scores = learner.scores(probe)
    return not (abs(scores.sum(axis=1)) < 1e-9).all()


def torn_sums(learner, probe):
    """(2) The sums of the classes are opposite, as many in each; Σ_c |Q_c| fits G's trace."""
    m = learner.moments()
    return m.n[0] != m.n[1] or (m.Q.sum(axis=0) != 0).any() or (np.diag(m.G) % 2).any()


def torn_status(learner, probe):
    """(3) As many in each class, and in sum; two changes a call."""
    status = learner.status
    found = list(status.samples_per_class.values())
    return found[0] != found[1] or sum(found) != status.samples or status.samples % 2


def torn_prediction(learner, probe):
    """(4) Probabilities sum to 1, and both classes are there."""
    found = learner.predict(probe[0]).probabilities
    return len(found) != 2 or abs(sum(found.values()) - 1) > 1e-6


LOOKS = [torn_scores, torn_scores, torn_status, torn_sums, torn_scores, torn_prediction]


def read(learner, most, until, looks=LOOKS):
    """Read so often, or so long; return (reads, torn ones), calls that broke included."""
    stop, counts = threading.Event(), []
    probe = X[:2]

    def look(number):
        reads = torn = 0
        while not stop.is_set():
            for looked in looks[number:] + looks[:number]:
                try:
                    torn += bool(looked(learner, probe))
                except Exception:  # noqa: BLE001, a mixture of shapes: whatever it is, it is torn
                    torn += 1
                reads += 1
                counts[number] = reads, torn

    counts.extend([(0, 0)] * 3)
    broken = []

    def change():
        while not stop.is_set():
            try:
                teach(learner, stop)
            except Exception as error:  # noqa: BLE001, readers must not get in its way
                broken.append(error)
                if len(broken) > 99:
                    return

    threads = [threading.Thread(target=change)]
    threads += [threading.Thread(target=look, args=(number,)) for number in range(3)]
    with eager_threads():
        for thread in threads:
            thread.start()
        end = time.monotonic() + until
        while time.monotonic() < end and sum(n for n, _ in counts) < most:
            if broken or any(torn for _, torn in counts):
                break
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    return sum(n for n, _ in counts), sum(torn for _, torn in counts) + len(broken)


def begun(folder):
    learner = Learner.open(
        folder, bundle=BUNDLE, durability=Durability(each=1, ring=1024, snapshot_every=256)
    )
    learner.learn_many([X[0], -X[0]], ["plus", "minus"])
    return learner


@pytest.mark.slow
def test_no_read_is_torn_while_another_thread_learns(figure):
    begin = time.monotonic()
    # In memory, where a change waits for no disk: there are the more of them
    with tempfile.TemporaryDirectory(dir=FAST) as place, begun(f"{place}/s") as learner:
        reads, torn = read(learner, READS, SECONDS)
        changes = learner.status.seq
    seconds = time.monotonic() - begin
    figure(f"{reads} reads during {changes} changes, {torn} torn, {seconds:.0f} s")
    assert torn == 0
    assert changes > 1000
    assert reads >= (READS if NIGHTLY else READS // 10), "too slow a machine to say anything"


class Unlocked:
    """A lock that keeps nobody out."""

    def __enter__(self):
        return self

    def __exit__(self, *told):
        return None

    def acquire(self, *a, **b):
        return True

    def release(self):
        return None


def unlocked(folder):
    """Read and change without a lock; return how many reads were torn, or calls broke."""
    with begun(folder) as learner:
        learner._lock = learner._journal.lock = Unlocked()
        return read(learner, 10 * READS, 60)[1]


def test_without_the_lock_reads_are_torn(tmp_path):
    """The same check sees what it should; in a process of its own, which it may well break."""
    with workers(1) as pool:
        try:
            assert pool.submit(unlocked, tmp_path / "s").result() > 0
        except BrokenProcessPool:
            return
