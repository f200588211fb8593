import os
import threading
import warnings

import numpy as np
import oracles
import pytest
from head_cases import SCALE, Follower, batch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import SEEDS, samples

from edge_cl.errors import InputError
from edge_cl.heads import RidgeOptions
from edge_cl.heads import ridge as ridge_module
from edge_cl.heads.gcv import choose_ridge
from edge_cl.heads.inverse import PENDING
from edge_cl.heads.masked import simplex_projection
from edge_cl.heads.ridge_solution import FEW, Problem
from edge_cl.moments import Moments

EPS = np.finfo(float).eps
NIGHTLY = bool(os.environ.get("EDGE_CL_NIGHTLY"))
RENEWED = {"double": 70_000, "single": 17_000}  # samples: rounding is cleared once, or twice


def assert_is_ridge(follower, q, y, lam, at):
    """Fitted values equal (1)'s, up to what the condition of G + λI costs any inverse."""
    x, k = q * SCALE, follower.moments.k
    expected = (at * SCALE) @ oracles.ridge(x, y, k, lam)
    condition = 1 + np.square(x).sum() / lam
    actual = follower.scores(at)
    seen = np.bincount(y, minlength=k) > 0
    assert_allclose(actual[:, seen], expected[:, seen], atol=1e-11 + 30 * EPS * condition)


@given(samples(), st.floats(-3, 6))
def test_after_every_sample_the_weights_are_the_batch_solution(stream, exponent):
    q, y = stream
    lam = 10.0**exponent
    follower = Follower(RidgeOptions(ridge=lam), q.shape[1])
    follower.head.tensors()  # a head that was looked at before anything was learned
    for i in range(len(q)):
        follower.learn(q[i : i + 1], y[i : i + 1])
        assert_is_ridge(follower, q[: i + 1], y[: i + 1], lam, q)


@pytest.mark.parametrize("lam", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("d", [3, 20])
def test_crossing_the_fold_and_the_age_changes_nothing(lam, d, rng, monkeypatch):
    age = 1000  # sooner than in earnest
    monkeypatch.setitem(ridge_module._AGE, "double", age)
    n = age + 2 * PENDING
    q, y = rng.integers(-900, 900, (n, d)).astype(np.int16), rng.integers(0, 4, n)
    follower = Follower(RidgeOptions(ridge=lam), d)
    edges = {e + s for e in (PENDING, 2 * PENDING, age, n - 1) for s in range(-2, 3)}
    for i in range(n):
        follower.learn(q[i : i + 1], y[i : i + 1])
        follower.scores(q[:1])
        if i in edges:
            assert_is_ridge(follower, q[: i + 1], y[: i + 1], lam, q[:20])


@given(SEEDS, st.floats(-2, 4), st.sampled_from(["double", "single"]))
def test_calls_of_any_size_in_any_order_leave_the_batch_solution(seed, exponent, inverse):
    """One by one, waiting for a block, too many for one: which way was taken cannot be seen."""
    rng = np.random.default_rng(seed)
    d, lam = 48, 10.0**exponent
    follower = Follower(RidgeOptions(ridge=lam, inverse=inverse), d)
    q, y = rng.integers(-900, 900, (60, d)).astype(np.int16), rng.integers(0, 3, 60)
    follower.learn(q, y)
    follower.scores(q[:1])
    for _ in range(12):
        n = int(rng.choice([1, 2, FEW, FEW + 1, d // 4, d // 4 + 1]))
        if rng.random() < 0.3:
            gone = rng.permutation(len(q))[:n]
            follower.forget(q[gone], y[gone])
            q, y = np.delete(q, gone, axis=0), np.delete(y, gone)
        else:
            rows, labels = rng.integers(-900, 900, (n, d)).astype(np.int16), rng.integers(0, 6, n)
            follower.learn(rows, labels)
            q, y = np.concatenate([q, rows]), np.concatenate([y, labels])
        if rng.random() < 0.5:
            assert_close_to_ridge(follower, q, y, lam, inverse)
    assert_close_to_ridge(follower, q, y, lam, inverse)


def assert_close_to_ridge(follower, q, y, lam, inverse):
    """The contract of each `inverse`: W to 1e-8, or to 1e-4."""
    if inverse == "double":
        assert_is_ridge(follower, q, y, lam, q[:20])
        return
    expected = oracles.ridge(q * SCALE, y, follower.moments.k, lam) * SCALE
    actual = follower.head.tensors()["W"]
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("inverse", ["double", "single"])
def test_many_samples_at_once_are_one_block_and_no_solution_from_the_sums(inverse, rng):
    d = 80
    q, y = rng.integers(-900, 900, (300, d)).astype(np.int16), rng.integers(0, 5, 300)
    follower = Follower(RidgeOptions(ridge=5.0, inverse=inverse), d)
    follower.learn(q[:200], y[:200])
    follower.scores(q[:1])
    solution = follower.head._solution
    follower.learn(q[200:212], y[200:212] + 1)
    follower.learn(q[212:213], y[212:213] + 1)  # waits with them, in their order
    held = follower.head.nbytes
    labels = np.concatenate([y[:200], y[200:213] + 1])
    assert_close_to_ridge(follower, q[:213], labels, 5.0, inverse)
    assert follower.head._solution is solution
    assert follower.head.nbytes < held + 8 * d  # the rows that waited are gone
    follower.learn(q[213:], y[213:])
    assert follower.head._solution is None  # more than d / 4: the sums are cheaper


def test_rows_that_wait_are_copies(rng):
    q, y = rng.integers(-900, 900, (300, 80)).astype(np.int16), rng.integers(0, 5, 300)
    follower = batch(RidgeOptions(ridge=5.0), q[:200], y[:200])
    follower.scores(q[:1])
    rows, labels = q[200:215].copy(), y[200:215].copy()
    follower.learn(rows, labels)
    rows[:], labels[:] = 0, 0
    assert_is_ridge(follower, q[:215], y[:215], 5.0, q[:20])


class Gate:
    """Holds a solution in the background until it is opened."""

    def __init__(self, monkeypatch):
        self._open, self.reached = threading.Event(), threading.Event()
        original = Problem.residual

        def held(problem, W):
            if threading.current_thread() is not threading.main_thread():
                self.reached.set()
                assert self._open.wait(60)
                self.act()
            return original(problem, W)

        monkeypatch.setattr(Problem, "residual", held)

    def act(self):
        """What happens in the thread before its work."""

    def open(self):
        self._open.set()


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setitem(ridge_module._AGE, "double", 100)
    monkeypatch.setitem(ridge_module._AGE, "single", 100)
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


def due(gate, rng, inverse="double", d=48, lam=3.0):
    """A follower whose solution in the background has begun, and what it has learned."""
    q, y = rng.integers(-900, 900, (160, d)).astype(np.int16), rng.integers(0, 4, 160)
    follower = Follower(RidgeOptions(ridge=lam, inverse=inverse), d)
    follower.learn(q[:60], y[:60])
    follower.scores(q[:1])
    for i in range(60, 160):
        follower.learn(q[i : i + 1], y[i : i + 1])
    assert gate.reached.wait(60)
    return follower, q, y


@pytest.mark.parametrize("inverse", ["double", "single"])
@pytest.mark.parametrize("sizes", [[], [1] * 7, [12, 1, 1], [1] * 90, [12] * 3])
def test_while_a_solution_is_under_way_the_old_one_serves_and_learns(gate, inverse, sizes, rng):
    follower, q, y = due(gate, rng, inverse)
    old = follower.head._solution
    for n in sizes:
        rows, labels = rng.integers(-900, 900, (n, 48)).astype(np.int16), rng.integers(0, 6, n)
        follower.learn(rows, labels)
        q, y = np.concatenate([q, rows]), np.concatenate([y, labels])
        assert_close_to_ridge(follower, q, y, 3.0, inverse)
    if sizes:
        follower.forget(q[:2], y[:2])
        q, y = q[2:], y[2:]
    assert_close_to_ridge(follower, q, y, 3.0, inverse)
    assert follower.head._solution is old
    assert follower.head.renewal is None
    gate.open()
    follower.head.settle()
    assert follower.head._solution is not old
    assert_close_to_ridge(follower, q, y, 3.0, inverse)
    renewal = follower.head.renewal
    assert renewal.residual < (1e-12 if inverse == "double" else 1e-4)
    assert 0 < renewal.pause_s < 10
    assert 0 < renewal.solve_s < 100
    follower.learn(q[:1], y[:1])
    assert follower.head.renewal is renewal  # it starts to age again


def test_a_solution_that_has_ended_is_taken_by_the_next_update(gate, rng):
    follower, q, y = due(gate, rng)
    solve = follower.head._solve
    gate.open()
    solve.join()
    before = follower.head.tensors()["W"]
    follower.scores(q)
    assert_array_equal(follower.head.tensors()["W"], before)  # stored meanwhile is what serves
    assert follower.head.renewal is None
    follower.learn(q[:1], y[:1] + 1)
    assert follower.head.renewal is not None
    assert_is_ridge(follower, np.concatenate([q, q[:1]]), np.append(y, y[0] + 1), 3.0, q)


def test_the_residual_is_that_of_the_weights_which_served(gate, rng):
    follower, _, _ = due(gate, rng)
    follower.head._solution.W *= 1.01  # the copy was made before: this must not show
    gate.open()
    follower.head.settle()
    assert follower.head.renewal.residual < 1e-12
    moments, lam = follower.moments, 3.0 / SCALE**2
    W = rng.standard_normal((48, moments.k))
    left = (moments.G + lam * np.eye(48)) @ W - moments.Q.T
    problem = Problem.of(moments, ridge=lam, single=None)
    assert problem.residual(W) == pytest.approx(np.linalg.norm(left) / np.linalg.norm(moments.Q))


@pytest.mark.parametrize("drop", ["refresh", "restore"])
def test_what_is_refreshed_or_restored_never_gets_an_older_solution(gate, drop, rng):
    follower, q, y = due(gate, rng)
    solve = follower.head._solve
    other = batch(RidgeOptions(ridge=3.0), q, y)
    follower.moments.merge(other.moments, np.arange(other.moments.k))
    q, y = np.concatenate([q, q]), np.concatenate([y, y])
    follower.head.refresh()
    if drop == "restore":
        follower.head.restore({"W": batch(RidgeOptions(ridge=3.0), q, y).head.tensors()["W"]})
    gate.open()
    solve.join()
    assert_is_ridge(follower, q, y, 3.0, q)
    follower.learn(q[:1], y[:1])
    q, y = np.concatenate([q, q[:1]]), np.append(y, y[0])
    assert_is_ridge(follower, q, y, 3.0, q)
    assert follower.head.renewal is None


def test_many_taken_back_while_a_solution_is_under_way(gate, rng):
    follower, q, y = due(gate, rng)
    follower.forget(q[:20], y[:20])
    gate.open()
    follower.head.settle()
    assert_is_ridge(follower, q[20:], y[20:], 3.0, q)


def test_digits_lost_while_catching_up_are_found_from_the_sums(gate, rng):
    d = 48
    follower, q, y = due(gate, rng, lam=1e-6)
    q[:, 0] = 0
    alone = np.zeros((1, d), np.int16)
    alone[0, 0] = 2047
    follower = batch(RidgeOptions(ridge=1e-6), q, y)
    follower.scores(q[:1])
    gate.reached.clear()
    for i in range(101):
        follower.learn(q[i : i + 1], y[i : i + 1])
    assert gate.reached.wait(60)
    follower.learn(alone, np.array([0]))
    solve = follower.head._solve
    solve.note(alone, np.array([0]), -1)  # the thread alone will meet it
    follower.moments.subtract(alone, np.array([0]))
    gate.open()
    follower.head.settle()
    assert follower.head._solution is None
    q, y = np.concatenate([q, q[:101]]), np.concatenate([y, y[:101]])
    assert_is_ridge(follower, q, y, 1e-6, q[:9])


def test_an_error_in_the_background_is_told_and_the_sums_still_answer(gate, rng):
    follower, q, y = due(gate, rng)

    def fail():
        raise MemoryError("no room")

    gate.act = fail
    gate.open()
    follower.head._solve.join()
    with pytest.warns(RuntimeWarning, match=r"background: MemoryError\('no room'\)"):
        follower.learn(q[:1], y[:1])
    assert_is_ridge(follower, np.concatenate([q, q[:1]]), np.append(y, y[0]), 3.0, q)
    assert follower.head.renewal is None


def test_float32_serves_only_where_the_ridge_lets_it(rng):
    d = 64
    q, y = rng.integers(-900, 900, (4000, d)).astype(np.int16), rng.integers(0, 4, 4000)
    square = float(np.square(q * SCALE).sum(axis=1).mean())

    def follower(relative, rows, inverse="single"):
        f = batch(RidgeOptions(ridge=relative * square, inverse=inverse), q[:rows], y[:rows])
        f.scores(q[:1])
        return f

    few = {r: follower(r, 20).head._solution.inverse.single for r in (0.3, 0.05, 1e-3, 1e-5)}
    assert few == {0.3: True, 0.05: True, 1e-3: False, 1e-5: False}
    assert follower(1e-5, 4000).head._solution.inverse.single  # every direction is determined
    assert not follower(0.3, 4000, "double").head._solution.inverse.single
    single, double = follower(0.3, 4000), follower(0.3, 4000, "double")
    assert double.head.nbytes - single.head.nbytes == 4 * d * d


def test_a_class_of_which_little_is_left_takes_float32_back(rng):
    """What is taken back leaves directions undetermined, in which float32 has no digits."""
    d, lam, n = 24, 1e-5, 416
    q = rng.integers(-900, 900, (n, d)).astype(np.int16)
    y = np.arange(n) % 2
    q[y == 0, :12] = 0
    q[y == 1, 12:] = 0
    q[y == 1] //= 5
    follower = batch(RidgeOptions(ridge=lam, inverse="single"), q, y)
    follower.scores(q[:1])
    assert follower.head._solution.inverse.single
    gone, left = np.flatnonzero(y == 1)[:192], np.ones(n, bool)
    for i in gone:
        follower.forget(q[i : i + 1], y[i : i + 1])
        left[i] = False
        follower.scores(q[:1])
    assert not follower.head._solution.inverse.single
    assert_close_to_ridge(follower, q[left], y[left], lam, "single")


@pytest.mark.parametrize("inverse", ["double", "single"])
def test_an_inverse_that_new_directions_have_worn_is_renewed(inverse, rng):
    """Rounding of 1e-16 / λ is too much once P is of the size of 1 / (n x²)."""
    d, lam = 6, 1e-6
    q, y = rng.integers(-900, 900, (400, d)).astype(np.int16), np.arange(400) % 3
    follower = Follower(RidgeOptions(ridge=lam, inverse=inverse), d)
    follower.scores(q[:1])
    for i in range(400):
        follower.learn(q[i : i + 1], y[i : i + 1])
    follower.head.settle()
    assert follower.head.renewal is not None
    twice = (np.concatenate([part, part]) for part in (q, y))
    expected = batch(RidgeOptions(ridge=lam), *twice).head.tensors()["W"]
    for i in range(400):  # twice as many rows, not another wear
        follower.learn(q[i : i + 1], y[i : i + 1])
    renewal = follower.head.renewal
    follower.head.settle()
    assert follower.head.renewal is renewal
    error = np.abs(follower.head.tensors()["W"] - expected).max() / np.abs(expected).max()
    assert error < (1e-11 if inverse == "double" else 1e-5)


def test_an_unknown_inverse_is_refused():
    with pytest.raises(InputError, match="double or single"):
        RidgeOptions(inverse="half")


def soak(seed, n, d, k, kind):
    """Rows one at a time: a stream that drifts, stalls, or spans half of the space."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 300, (k, d))
    half = rng.standard_normal((d // 2, d)) / np.sqrt(d // 2)
    block = 1000
    for start in range(0, n, block):
        phase = kind if kind != "mixed" else ("drift", "stall", "rank")[start // block % 3]
        y = rng.integers(0, k, block)
        x = means[y] + rng.normal(0, 200, (block, d))
        if phase == "drift":
            means += rng.normal(0, 10, (k, d))
            means *= 0.999
        if phase == "stall":
            x[:], y[:] = x[0], y[0]
        if phase == "rank":
            x = x[:, : d // 2] @ half
        yield np.clip(np.rint(x), -2047, 2047).astype(np.int16), y


def run_soak(n, relative, inverse, kind, checks, d=6, k=4):
    square = d * (300.0**2 + 200.0**2) * SCALE**2
    follower = Follower(RidgeOptions(ridge=relative * square, inverse=inverse), d)
    at = np.random.default_rng(9).integers(-900, 900, (20, d)).astype(np.int16)
    follower.moments.grow(k)
    follower.scores(at)
    every, last = n // checks, 0
    for number, (q, y) in enumerate(soak(5, n, d, k, kind)):
        for i in range(len(q)):
            follower.learn(q[i : i + 1], y[i : i + 1])
        done = (number + 1) * 1000
        W = follower.head.tensors()["W"]
        assert np.isfinite(W).all()
        if done - last >= every:
            last = done
            moments, lam = follower.moments, relative * square / SCALE**2
            A = moments.G + lam * np.eye(d)
            expected = np.linalg.solve(A, moments.Q.T)
            tolerance = 1e-8 if inverse == "double" else 1e-4
            tolerance += 30 * EPS * np.linalg.cond(A)  # what the oracle itself may be off
            assert np.abs(W - expected).max() <= tolerance * np.abs(expected).max()
    follower.head.settle()
    return follower.head


@pytest.mark.slow
@pytest.mark.parametrize("inverse", ["double", "single"])
def test_very_many_samples_of_drift_stalls_and_lost_rank(inverse):
    samples = 1_000_000 if NIGHTLY else 4 * RENEWED[inverse]
    head = run_soak(samples, 0.3, inverse, "mixed", checks=40)
    assert head.renewal.residual < (1e-11 if inverse == "double" else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("inverse", ["double", "single"])
@pytest.mark.parametrize("kind", ["drift", "stall", "rank"])
@pytest.mark.parametrize("ridge", [1e-5, 1e-2, 10.0, 1e4])
def test_many_samples_under_any_ridge(ridge, kind, inverse):
    square = 6 * (300.0**2 + 200.0**2) * SCALE**2
    run_soak(70_000 if NIGHTLY else RENEWED[inverse], ridge / square, inverse, kind, checks=10)


@given(SEEDS, st.floats(-300, -3))
def test_a_tiny_ridge_on_rank_deficient_data_still_answers(seed, exponent):
    rng = np.random.default_rng(seed)
    q = np.repeat(rng.integers(-2000, 2000, (3, 12)), 20, axis=0).astype(np.int16)
    y = np.repeat(np.arange(3), 20)
    follower = Follower(RidgeOptions(ridge=10.0**exponent), 12)
    follower.head.tensors()
    for i in rng.permutation(60):
        follower.learn(q[i : i + 1], y[i : i + 1])
        scores = follower.scores(q)
        assert np.isfinite(scores[:, follower.moments.n > 0]).all()
    # independent rows are fitted exactly, however small λ is
    assert_allclose(scores, np.eye(3)[y], atol=1e-2)
    assert_array_equal(scores.argmax(axis=1), y)


@pytest.mark.parametrize("ridge", [1e-307, 1e-100, 1e-25, 1e-12])
def test_contradicting_labels_of_one_row_average_however_small_the_ridge(ridge, rng):
    follower, row = Follower(RidgeOptions(ridge=ridge), 12), rng.integers(-900, 900, (1, 12))
    row = row.astype(np.int16)
    follower.learn(row[:, ::-1].copy(), np.array([2]))
    follower.head.tensors()
    y = np.array([0, 1, 1, 0, 0, 0])
    for i in range(len(y)):
        follower.learn(row, y[i : i + 1])
        share = np.bincount(y[: i + 1], minlength=2) / (i + 1)
        seen = share > 0
        assert_allclose(follower.scores(row)[0, :2][seen], share[seen], atol=1e-2)


@pytest.mark.parametrize("ridge", [1e-4, 1e-8])
def test_few_rows_under_a_small_ridge_are_fitted_while_they_come_and_go(ridge, rng):
    """Fewer rows than features: each has a leverage near one."""
    n, d = 120, 100
    q, y = rng.integers(-900, 900, (n, d)).astype(np.int16), np.arange(n) % 3
    follower = Follower(RidgeOptions(ridge=ridge), d)
    for i in range(n):
        follower.learn(q[i : i + 1], y[i : i + 1])
        follower.scores(q[:1])
    for i in range(n - 1, 40, -1):
        follower.forget(q[i : i + 1], y[i : i + 1])
        if i < 80:
            assert_allclose(follower.scores(q[:i]), oracles.one_hot(y[:i], 3), atol=1e-4)


@pytest.mark.parametrize("ridge", [1e-307, 1e-30, 1e30, 1e300])
def test_an_extreme_ridge_gives_numbers(ridge, rng):
    q, y = rng.integers(-900, 900, (30, 5)).astype(np.int16), np.arange(30) % 3
    follower = Follower(RidgeOptions(ridge=ridge), 5)
    follower.head.tensors()
    for i in range(30):
        follower.learn(q[i : i + 1], y[i : i + 1])
        p = follower.head.probabilities(follower.scores(q), q)
        assert_allclose(p.sum(axis=1), 1.0)


@given(SEEDS)
def test_taking_back_the_only_sample_of_a_direction_keeps_all_digits(seed):
    rng = np.random.default_rng(seed)
    d, lam = 6, 1e-6
    q = rng.integers(-3, 4, (30, d)).astype(np.int16)
    q[:, 0] = 0
    y = rng.integers(0, 3, 30)
    alone = np.zeros((1, d), np.int16)
    alone[0, 0] = 2047  # leverage above 1 - 1e-7
    follower = batch(RidgeOptions(ridge=lam), q, y, k=3)
    before = follower.scores(q)
    follower.learn(alone, np.array([0]))
    follower.scores(q)
    follower.forget(alone, np.array([0]))
    assert_allclose(follower.scores(q), before, atol=1e-12)


@given(SEEDS, st.integers(2, 6))
def test_tasks_with_reappearing_classes_are_gacil_and_the_joint_solution(seed, tasks):
    rng = np.random.default_rng(seed)
    d, k, lam = 5, 4, 2.0
    y = rng.integers(0, k, 60)
    q = (300 * rng.standard_normal((k, d))[y] + rng.normal(0, 100, (60, d))).astype(np.int16)
    parts = np.array_split(np.arange(60), tasks)
    follower = Follower(RidgeOptions(ridge=lam), d)
    for part in parts:
        follower.learn(q[part], y[part])
    stream = [(q[p] * SCALE, y[p]) for p in parts]
    assert_allclose(follower.scores(q), q * SCALE @ oracles.gacil(stream, d, k, lam), atol=1e-9)
    # negative control: without its gain for classes that reappear, the recursion is another
    lossy = q * SCALE @ oracles.gacil(stream, d, k, lam, with_gain=False)
    assert np.abs(lossy - follower.scores(q)).max() > 0.05


@given(samples(max_n=30), st.floats(-3, 5))
def test_gcv_is_that_of_the_hat_matrix(stream, exponent):
    q, y = stream
    if len(q) < 2:
        return
    moments, lam = Moments(q.shape[1]), 10.0**exponent
    moments.add(q, y)
    choice = choose_ridge(
        moments, scale=SCALE, mean_square_norm=1.0, candidates=np.array([lam, 10 * lam])
    )
    for i, candidate in enumerate(choice.candidates):
        value, df = oracles.gcv(q * SCALE, y, moments.k, candidate)
        if len(q) - df > 1e-3:  # else both are 0 / 0
            assert choice.gcv[i] == pytest.approx(value, rel=1e-4, abs=1e-9)
            if choice.ridge == candidate:
                assert choice.degrees_of_freedom == pytest.approx(df, rel=1e-6, abs=1e-9)
    assert choice.ridge in choice.candidates


def test_gcv_finds_a_ridge_that_predicts_better_than_the_ends(rng):
    truth = rng.standard_normal((40, 2))

    def draw(n):
        x = rng.standard_normal((n, 40))
        y = (x @ truth + rng.normal(0, 8, (n, 2))).argmax(axis=1)
        return (x / SCALE / 8).astype(np.int16), y

    q, y = draw(60)
    moments = Moments(40)
    moments.add(q, y)
    square = float(np.square(q * SCALE).sum(axis=1).mean())
    choice = choose_ridge(moments, scale=SCALE, mean_square_norm=square)
    test, target = draw(4000)

    def error(lam):
        fitted = test @ oracles.ridge(q * SCALE, y, 2, lam) * SCALE
        return np.square(fitted - np.eye(2)[target]).mean()

    assert len(choice.candidates) == 41
    assert error(choice.ridge) < min(error(choice.candidates[0]), error(choice.candidates[-1]))


def test_a_ridge_cannot_be_chosen_from_one_sample():
    moments = Moments(2)
    moments.add(np.ones((1, 2), np.int16), np.array([0]))
    with pytest.raises(InputError, match="two samples"):
        choose_ridge(moments, scale=1.0, mean_square_norm=1.0)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_ridge_that_is_not_positive_is_refused(ridge):
    with pytest.raises(InputError, match="positive"):
        RidgeOptions(ridge=ridge)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.integers(0, 3))
def test_probabilities_are_the_nearest_point_of_the_simplex(scores, unseen):
    s = np.array([scores + [-np.inf] * unseen])
    expected = [*oracles.simplex_projection(np.array(scores)), *[0.0] * unseen]
    assert_allclose(simplex_projection(s)[0], expected, atol=1e-12)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_scores_of_any_size_give_a_distribution(scores):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "overflow", RuntimeWarning)
        p = simplex_projection(np.array([scores]))
    assert p.sum() == pytest.approx(1.0)
    assert p[0, np.argmax(scores)] == p.max()


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("k", [129, 700, 5000])
def test_of_many_classes_only_the_largest_are_put_in_order(k, spread, rng):
    """The support may be one class, some, or all; each row of a call has its own."""
    s = rng.standard_normal((3, k)) * spread * [[1.0], [1e-3], [1e-9]]
    expected = np.array([oracles.simplex_projection(row) for row in s])
    assert_allclose(simplex_projection(s), expected, atol=1e-12)
    s[:, 5:90] = -np.inf
    assert not simplex_projection(s)[:, 5:90].any()
    assert_allclose(simplex_projection(s).sum(axis=1), 1.0)


def test_a_distribution_is_left_as_it_is():
    assert_allclose(simplex_projection(np.array([[0.2, 0.5, 0.3]])), [[0.2, 0.5, 0.3]])
