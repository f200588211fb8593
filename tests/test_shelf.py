"""The shelf: what is current, what it returns to, and that no interruption leaves a half."""

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_cl import features_bundle
from edge_cl.errors import BundleError, EdgeCLError, InputError, StateError, StorageError
from edge_cl.manifest import MAX_BUNDLE_BYTES
from edge_cl.shelf import Shelf
from edge_cl.shelf_folder import MAX_REMEMBERED
from edge_cl.signing import (
    new_key,
    read_public_key,
    read_signature,
    sign_bundle,
    verify_signature,
)

BUNDLES = [
    features_bundle(np.random.default_rng(i).normal(size=(8, 3)), name=f"net-{i}") for i in range(5)
]
A, B, C, D, E = BUNDLES
ARCHIVES = [bundle.archive() for bundle in BUNDLES]
SHAS = [bundle.sha256 for bundle in BUNDLES]


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "shelf")


def put(shelf, *bundles):
    """Install one after the other, each marked good before the next comes."""
    for bundle in bundles:
        shelf.install(bundle.archive())
        shelf.mark_good()


def say(capsys, figure):
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


def links(folder):
    """What the links say, for someone who knows nothing of the record."""
    return tuple(
        (folder / name).readlink().name.removesuffix(".edgecl")
        if (folder / name).is_symlink()
        else None
        for name in ("current", "previous")
    )


# -- switching and returning -----------------------------------------------------------------


def test_the_first_bundle_is_current_and_has_nothing_behind_it(shelf, tmp_path):
    done = shelf.install(A.archive())
    assert (done.sha256, done.name, done.switched) == (A.sha256, A.name, True)
    assert links(shelf.folder) == (A.sha256, None)
    assert (shelf.folder / "current").read_bytes() == A.archive()
    start = shelf.start()
    assert start.bundle.sha256 == A.sha256
    assert (start.starts_left, start.returned_from, start.note) == (None, None, "")
    for _ in range(10):  # nothing to return to: it stays
        assert shelf.start().bundle.sha256 == A.sha256


def test_a_path_is_taken_as_well_as_bytes(shelf, tmp_path):
    (tmp_path / "b.edgecl").write_bytes(B.archive())
    assert shelf.install(tmp_path / "b.edgecl").sha256 == B.sha256


def test_a_bundle_that_never_gets_healthy_is_returned_from_and_named(shelf):
    put(shelf, A)
    shelf.install(B.archive())
    for left in (2, 1, 0):
        start = shelf.start()
        assert (start.bundle.sha256, start.starts_left, start.note) == (B.sha256, left, "")
        assert not shelf.healthy(99)
        shelf = Shelf(shelf.folder)  # the process has gone
    start = shelf.start()
    assert (start.bundle.sha256, start.returned_from) == (A.sha256, B.sha256)
    assert start.starts_left is None
    assert start.note == (
        f"returned to {A.name} ({A.sha256[:12]}): {B.sha256[:12]} was started 3 times and "
        "never marked good"
    )
    assert links(shelf.folder) == (A.sha256, None)
    with pytest.raises(BundleError, match=r"net-1 .* failed on .* before"):
        shelf.install(B.archive())
    assert shelf.start().bundle.sha256 == A.sha256
    assert shelf.install(B.archive(), force=True).switched
    assert shelf.status.bad == ()


def test_healthy_predictions_end_the_trial_and_write_once(shelf, monkeypatch):
    put(shelf, A)
    shelf.install(B.archive())
    shelf.start()
    written = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: written.append(fd) or real(fd))
    assert not any(shelf.healthy() for _ in range(99))
    assert written == []
    assert shelf.healthy()
    assert written
    assert not any(shelf.healthy() for _ in range(200))
    assert shelf.status.starts is None
    for _ in range(5):
        assert Shelf(shelf.folder).start().bundle.sha256 == B.sha256


def test_what_is_healthy_now_says_nothing_of_what_was_installed_meanwhile(shelf):
    put(shelf, A)
    shelf.install(B.archive())
    shelf.start()
    Shelf(shelf.folder).install(C.archive())
    assert not shelf.healthy(100)
    assert (shelf.status.current, shelf.status.starts) == (C.sha256, 0)


def test_an_unproven_bundle_is_never_what_is_returned_to(shelf):
    put(shelf, A)
    shelf.install(B.archive())
    shelf.install(C.archive())
    assert links(shelf.folder) == (C.sha256, A.sha256)
    for _ in range(3):
        shelf.start()
    assert shelf.start().bundle.sha256 == A.sha256


def test_installing_what_is_current_changes_nothing(shelf):
    put(shelf, A, B)
    before = shelf.status
    assert not shelf.install(B.archive()).switched
    assert shelf.status == before


def test_a_bundle_rotten_on_the_shelf_is_refused_and_installing_mends_it(shelf):
    put(shelf, A, B)
    path = (shelf.folder / "current").resolve()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        shelf.start()
    shelf.install(B.archive())
    assert shelf.start().bundle.sha256 == B.sha256


def test_a_bundle_under_another_ones_name_is_refused(shelf):
    put(shelf, A)
    (shelf.folder / f"bundles/{A.sha256}.edgecl").write_bytes(B.archive())
    with pytest.raises(BundleError, match=f"expected bundle {A.sha256[:12]}"):
        shelf.start()


def test_a_bundle_on_trial_that_cannot_be_opened_uses_up_its_starts(shelf):
    put(shelf, A)
    shelf.install(B.archive())
    (shelf.folder / f"bundles/{B.sha256}.edgecl").write_bytes(b"not a bundle")
    for _ in range(3):
        with pytest.raises(BundleError):
            shelf.start()
    assert shelf.start().bundle.sha256 == A.sha256


def test_there_is_no_return_to_a_rotten_bundle(shelf):
    put(shelf, A)
    shelf.install(B.archive())
    (shelf.folder / f"bundles/{A.sha256}.edgecl").write_bytes(b"not a bundle")
    before = shelf.status
    with pytest.raises(BundleError):
        shelf.go_back()
    assert shelf.status == before


def test_returning_by_hand(shelf):
    put(shelf, A, B)
    assert shelf.go_back().sha256 == A.sha256
    assert shelf.status.bad == (B.sha256,)
    with pytest.raises(StateError, match="no previous bundle"):
        shelf.go_back()


def test_prune_keeps_the_current_and_the_previous_one(shelf):
    put(shelf, A, B, C, D)
    assert sorted(shelf.prune()) == sorted([A.sha256, B.sha256])
    assert sorted(p.name for p in (shelf.folder / "bundles").iterdir()) == sorted(
        f"{b.sha256}.edgecl" for b in (C, D)
    )
    assert shelf.prune() == ()


def test_only_so_many_failures_are_remembered(shelf, monkeypatch):
    monkeypatch.setattr("edge_cl.shelf.MAX_REMEMBERED", 2)
    put(shelf, A)
    for bundle in (B, C, D):
        shelf.install(bundle.archive())
        shelf.go_back()
        put(shelf, A)
    assert shelf.status.bad == (C.sha256, D.sha256)
    assert MAX_REMEMBERED >= 16


# -- refusing --------------------------------------------------------------------------------


def test_nothing_is_started_or_made_where_nothing_was_installed(shelf):
    for call in (shelf.start, shelf.mark_good, shelf.go_back, shelf.prune):
        with pytest.raises(StateError):
            call()
    assert not shelf.folder.exists()
    assert shelf.status.current is None


def test_options_that_make_no_sense_are_refused(tmp_path):
    for options in ({"healthy_after": 0}, {"starts": 0}):
        with pytest.raises(InputError):
            Shelf(tmp_path, **options)


def test_a_damaged_bundle_changes_nothing(shelf):
    put(shelf, A)
    before = shelf.status
    with pytest.raises(BundleError):
        shelf.install(B.archive()[:-1])
    assert shelf.status == before


def test_a_signature_is_asked_for_when_installing_and_again_when_starting(tmp_path):
    def check(bundle, signature):
        if signature != bundle.sha256[:8].encode():
            raise BundleError("not signed")

    folder, good = tmp_path / "shelf", A.sha256[:8].encode()
    strict = Shelf(folder, check=check)
    for signature in (None, b"other"):
        with pytest.raises(BundleError, match="not signed"):
            strict.install(A.archive(), signature=signature)
    assert not folder.exists()
    strict.install(A.archive(), signature=good)
    assert strict.start().bundle.sha256 == A.sha256
    (folder / f"bundles/{A.sha256}.edgecl.sig").write_bytes(b"other")
    with pytest.raises(BundleError, match="not signed"):
        strict.start()
    Shelf(folder).install(B.archive())
    with pytest.raises(BundleError, match="not signed"):
        strict.start()
    assert Shelf(folder).start().bundle.sha256 == B.sha256
    Shelf(folder).prune()


def test_signatures_of_edge_cl_sign_are_what_is_checked(tmp_path):
    private, public = new_key(tmp_path / "owner")
    _, foreign = new_key(tmp_path / "other")
    path = tmp_path / "net.edgecl"
    path.write_bytes(A.archive())
    sign_bundle(path, private)
    keys = {key: read_public_key(key) for key in (public, foreign)}

    def shelf(key):
        return Shelf(tmp_path / "shelf", check=lambda b, s: verify_signature(b, s, keys[key]))

    with pytest.raises(BundleError, match="is not signed"):
        shelf(public).install(path)
    with pytest.raises(BundleError, match="signed by key"):
        shelf(foreign).install(path, signature=read_signature(path))
    shelf(public).install(path, signature=read_signature(path))
    assert shelf(public).start().bundle.sha256 == A.sha256
    with pytest.raises(BundleError, match="signed by key"):
        shelf(foreign).start()


def odd_entries(folder, elsewhere):
    """Yield (what is odd, how to make it so) for a shelf with A and B on it."""
    a = f"bundles/{A.sha256}.edgecl"
    yield "a file of no shelf", lambda: (folder / "notes.txt").write_text("x")
    yield "a folder of no shelf", lambda: (folder / "more").mkdir()
    yield "a pipe", lambda: os.mkfifo(folder / "pipe")
    yield "a file among the bundles", lambda: (folder / "bundles/readme").write_text("x")
    yield "a folder among the bundles", lambda: (folder / "bundles/more").mkdir()
    for name in ("shelf.json", "lock", a, "bundles"):

        def moved(name=name):
            shutil.move(folder / name, elsewhere)
            (folder / name).symlink_to(elsewhere)

        yield f"{name} is a link to elsewhere", moved
    for name in ("shelf.json", "lock", a):
        yield f"{name} has a second name", lambda name=name: os.link(folder / name, elsewhere)

    def relinked(target):
        (folder / "current").unlink()
        (folder / "current").symlink_to(target)

    for target in (
        elsewhere,
        "../x.edgecl",
        f"bundles/../{a}",
        f"{folder}/{a}",
        "bundles",
        f"{a}/",
    ):
        yield f"current leads to {target}", lambda target=target: relinked(target)
    current = folder / "current"
    yield "current is a file", lambda: current.unlink() or current.touch()


def test_what_does_not_belong_on_a_shelf_is_refused(tmp_path):
    template = Shelf(tmp_path / "template")
    put(template, A, B)
    folder, elsewhere = tmp_path / "shelf", tmp_path / "elsewhere"
    for i in range(len(list(odd_entries(folder, elsewhere)))):
        shutil.copytree(template.folder, folder, symlinks=True)
        what, make = list(odd_entries(folder, elsewhere))[i]
        make()
        assert refusals(Shelf(folder)) == 6, what
        shutil.rmtree(folder)
        if elsewhere.is_dir():
            shutil.rmtree(elsewhere)
        else:
            elsewhere.unlink(missing_ok=True)


def refusals(shelf):
    calls = [
        lambda: shelf.status,
        shelf.start,
        shelf.mark_good,
        shelf.go_back,
        shelf.prune,
        lambda: shelf.install(C.archive()),
    ]
    refused = 0
    for call in calls:
        try:
            call()
        except StateError:
            refused += 1
    return refused


def test_a_file_too_large_for_a_bundle_is_not_read(shelf):
    put(shelf, A)
    with (shelf.folder / f"bundles/{A.sha256}.edgecl").open("r+b") as stream:
        stream.truncate(MAX_BUNDLE_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(BundleError, match="at most"):
        shelf.start()


def test_no_bit_of_the_record_can_be_changed(shelf, capsys):
    put(shelf, A, B, C)
    shelf.go_back()
    shelf.install(D.archive())
    path = shelf.folder / "shelf.json"
    data, before, accepted = path.read_bytes(), shelf.status, 0
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            accepted += shelf.status is not None
        except StateError:
            continue
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(StateError):
            shelf.start()
    path.write_bytes(data)
    assert shelf.status == before
    say(capsys, f"record of the shelf: {8 * len(data)} bit flips, accepted {accepted}")
    assert accepted == 0


def test_one_changes_the_shelf_at_a_time(shelf):
    import fcntl

    put(shelf, A)
    with (shelf.folder / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = shelf.status  # reading does not wait
        hasty = Shelf(shelf.folder, patience_s=0.05)
        for call in (hasty.start, hasty.mark_good, lambda: hasty.install(B.archive())):
            with pytest.raises(StorageError, match="another process"):
                call()
        assert shelf.status == before


def test_many_at_once_end_as_some_order_of_them(shelf):
    put(shelf, A)
    errors = []

    def work(i):
        try:
            own = Shelf(shelf.folder)
            for _ in range(5):
                own.install(ARCHIVES[i], force=True)
                own.start()
                own.mark_good()
                own.prune()
        except EdgeCLError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    now = shelf.status
    assert (now.current, now.previous) == links(shelf.folder)
    assert {now.current, now.previous} <= set(now.held)


# -- any order of events, against a model ----------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Events in any order. The model is four variables and no file."""

    def __init__(self):
        super().__init__()
        self.place = Path(
            tempfile.mkdtemp(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
        )
        self.limit, self.needed = 2, 5
        self.boot()
        self.current = self.previous = self.starts = self.running = None
        self.bad = []
        self.held = set()
        self.count = 0

    def boot(self):
        self.shelf = Shelf(self.place / "shelf", healthy_after=self.needed, starts=self.limit)

    def teardown(self):
        shutil.rmtree(self.place)

    def model_return(self):
        failed = self.current
        self.bad = [b for b in self.bad if b != failed] + [failed]
        self.current, self.previous, self.starts = self.previous, None, None
        return failed

    @rule(i=st.integers(0, 4), force=st.booleans())
    def install(self, i, force):
        sha = SHAS[i]
        if sha in self.bad and not force:
            with pytest.raises(BundleError):
                self.shelf.install(ARCHIVES[i])
            return
        done = self.shelf.install(ARCHIVES[i], force=force)
        assert done.switched == (sha != self.current)
        self.bad = [b for b in self.bad if b != sha]
        self.held.add(sha)
        if sha != self.current:
            good = self.current if self.starts is None else self.previous
            self.previous = good if good not in (None, sha) else self.current
            self.current, self.starts = sha, 0

    @rule()
    def power_cut(self):
        """The process goes; what it counted in memory goes with it."""
        self.boot()
        self.running, self.count = None, 0

    @precondition(lambda self: self.current)
    @rule()
    def start(self):
        self.boot()
        start = self.shelf.start()
        failed = None
        if self.starts is not None and self.previous and self.starts >= self.limit:
            failed = self.model_return()
        elif self.starts is not None:
            self.starts = min(self.starts + 1, self.limit)
        assert start.bundle.sha256 == self.current
        assert start.returned_from == failed
        assert bool(start.note) == bool(failed)
        self.running = self.current
        self.count = self.needed if self.starts is not None else 0

    @rule(n=st.integers(1, 6))
    def healthy(self, n):
        marked = False
        if self.count:
            self.count -= n
            if self.count <= 0:
                self.count = 0
                marked = self.running == self.current and self.starts is not None
                if marked:
                    self.starts = None
        assert self.shelf.healthy(n) == marked

    @precondition(lambda self: self.current)
    @rule()
    def good_by_hand(self):
        assert self.shelf.mark_good() == (self.starts is not None)
        self.starts = None

    @precondition(lambda self: self.previous)
    @rule()
    def back_by_hand(self):
        assert self.shelf.go_back().sha256 == self.previous
        self.model_return()

    @precondition(lambda self: self.current)
    @rule()
    def prune(self):
        gone = self.held - {self.current, self.previous}
        assert set(self.shelf.prune()) == gone
        self.held -= gone

    @invariant()
    def shelf_and_model_agree(self):
        now = self.shelf.status
        assert (now.current, now.previous, now.starts) == (self.current, self.previous, self.starts)
        assert now.bad == tuple(self.bad)
        assert set(now.held) == self.held
        assert now.current not in now.bad
        assert now.current is None or now.current != now.previous
        assert links(self.shelf.folder) == (self.current, self.previous)


TestAnyOrder = Machine.TestCase
TestAnyOrder.settings = settings(settings.get_profile("fast"), stateful_step_count=40)


# -- every failure point ---------------------------------------------------------------------


class Died(BaseException):
    """Not an error that anything catches: the process is no more."""


class Faults:
    """Count each call that changes the disk; at call `at` fail once, or end the process.

    A process that has died changes nothing any more: each further call dies as well. A write
    is torn: half of its bytes arrive.
    """

    def __init__(self, monkeypatch, at, kind):
        self.calls, self.at, self.kind, self.dead = 0, at, kind, False
        for owner, names in (
            (Path, ("mkdir", "replace", "unlink", "symlink_to")),
            (os, ("fsync", "fchmod")),
        ):
            for name in names:
                self._patch(monkeypatch, owner, name)
        real = os.fdopen

        def fdopen(descriptor, mode="r"):
            stream = real(descriptor, mode, 0) if "w" in mode else real(descriptor, mode)
            return _Torn(stream, self) if "w" in mode else stream

        monkeypatch.setattr(os, "fdopen", fdopen)

    def _patch(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def call(*arguments, **options):
            strikes = self.strikes()
            result = None if strikes and self.kind != "after" else real(*arguments, **options)
            if strikes:
                self.fail()
            return result

        monkeypatch.setattr(owner, name, call)

    def strikes(self):
        if self.dead:
            raise Died
        self.calls += 1
        return self.calls == self.at

    def fail(self):
        if self.kind == "error":
            raise OSError(5, "Input/output error")
        self.dead = True
        raise Died


class _Torn:
    def __init__(self, stream, faults):
        self._stream, self._faults = stream, faults

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def write(self, data):
        if self._faults.strikes():
            self._stream.write(data if self._faults.kind == "after" else data[: len(data) // 2])
            self._faults.fail()
        self._stream.write(data)

    def flush(self):
        pass

    def fileno(self):
        return self._stream.fileno()


def on_trial(shelf, starts):
    put(shelf, A)
    shelf.install(B.archive())
    for _ in range(starts):
        shelf.start()


SIGNED = b"signature"
SWITCHES = {  # name: (how the shelf was, what is done to it, whether doing it twice is once)
    "first": (lambda s: None, lambda s: s.install(A.archive()), True),
    "second": (lambda s: put(s, A), lambda s: s.install(B.archive(), signature=SIGNED), True),
    "third": (lambda s: put(s, A, B), lambda s: s.install(C.archive()), True),
    "over a trial": (lambda s: on_trial(s, 1), lambda s: s.install(C.archive()), True),
    "the previous again": (lambda s: put(s, A, B), lambda s: s.install(A.archive()), True),
    "forced": (
        lambda s: (put(s, A, B), s.go_back()),
        lambda s: s.install(B.archive(), force=True),
        True,
    ),
    "mark good": (lambda s: on_trial(s, 2), lambda s: s.mark_good(), True),
    "prune": (lambda s: put(s, A, B, C, D), lambda s: s.prune(), True),
    "start on trial": (lambda s: on_trial(s, 1), lambda s: s.start(), False),
    "automatic return": (lambda s: on_trial(s, 3), lambda s: s.start(), True),
    "back": (lambda s: put(s, A, B), lambda s: s.go_back(), False),
}


def seen(shelf):
    now = shelf.status
    return msgspec.structs.astuple(shelf._files.record()), now.current


@pytest.mark.parametrize("kind", ["error", "before", "after"])
@pytest.mark.parametrize("name", SWITCHES)
def test_an_interruption_anywhere_leaves_the_old_or_the_new(name, kind, tmp_path, record_figure):
    arrange, act, idempotent = SWITCHES[name]
    template, done = Shelf(tmp_path / "template"), Shelf(tmp_path / "done")
    arrange(template)
    old = seen(template)
    if template.folder.exists():
        shutil.copytree(template.folder, done.folder, symlinks=True)
    act(done)
    new, finished = seen(done), links(done.folder)
    points, outcomes = 0, set()
    while True:
        folder = tmp_path / "shelf"
        if template.folder.exists():
            shutil.copytree(template.folder, folder, symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, points + 1, kind)
            try:
                act(Shelf(folder))
                struck = faults.calls > points
                # Clearing leftovers may fail: they stay for the next time
                assert not struck or kind == "error"
            except StorageError:
                assert kind == "error"
                struck = True
            except Died:
                struck = True
        if not struck:
            shutil.rmtree(folder)
            break
        points += 1
        after = Shelf(folder)
        found = seen(after)
        assert found in (old, new)
        outcomes.add(found)
        if found[1] is not None:
            assert links(folder)[0] in (old[1], found[1])  # behind the record, never ahead
            assert (folder / "current").exists() or links(folder)[0] is None
        if idempotent:
            act(after)
            assert seen(after) == new
            assert links(folder) == finished
            assert after.status.held == done.status.held
            assert not list(folder.rglob(".*")), "something was left behind"
        if found[1] is not None:
            assert after.start().bundle.sha256 in SHAS
            assert links(folder) == after_links(after)
        shutil.rmtree(folder)
    assert points >= 3
    assert old == new or new in outcomes
    record_figure(points)


def after_links(shelf):
    return shelf.status.current, shelf.status.previous


@pytest.fixture(scope="module")
def struck():
    return []


@pytest.fixture
def record_figure(struck):
    return struck.append


def test_how_many_interruptions_that_were(struck, capsys):
    say(capsys, f"switches of the shelf interrupted: {sum(struck)}, half done 0")
    assert not struck or len(struck) < 3 * len(SWITCHES) or sum(struck) >= 300
