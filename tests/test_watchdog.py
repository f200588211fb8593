"""Word to the service manager: what is said, when, and that a hang is silence."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_cl.watchdog import Watchdog


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A datagram socket, and the name that a service gets of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-cl-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        link.settimeout(0)
        yield link, name


def heard(link):
    words = []
    while True:
        try:
            words.append(link.recv(4096).decode().split("\n")[0])
        except BlockingIOError:
            return words


def test_without_a_manager_nothing_is_said():
    silent = Watchdog({})
    silent.ready()
    silent.finished()
    silent.stopping()
    assert silent.silence is None


def test_each_word_is_said(manager):
    link, name = manager
    word = Watchdog({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    word.ready()
    word.finished()
    word.stopping()
    assert heard(link) == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


@given(steps=st.lists(st.floats(0, 3), max_size=60), usec=st.integers(1, 8_000_000))
def test_frames_are_told_of_at_most_each_quarter_and_soon_enough(steps, usec):
    now, told = [0.0], []
    name = f"edge-cl-quarter-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind("\0" + name)
        link.settimeout(0)
        environment = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": str(usec)}
        word = Watchdog(environment, clock=lambda: now[0])
        for step in steps:
            now[0] += step
            word.finished()
            told += [now[0]] * len(heard(link))
            # however frames come: after one, the last word is no older than a quarter
            assert now[0] - told[-1] < usec / 4e6
    assert all(b - a >= usec / 4e6 for a, b in itertools.pairwise(told))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "²"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_for_nobody_or_another_process_is_not_fed(manager, environment):
    link, name = manager
    Watchdog({"NOTIFY_SOCKET": name, **environment}).finished()
    assert heard(link) == []


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all", "/" + "x" * 300, "@"])
def test_a_manager_that_is_not_there_ends_nothing(name):
    word = Watchdog({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"})
    word.ready()
    word.finished()


def test_a_manager_that_does_not_read_holds_no_frame_up(manager):
    _, name = manager
    word = Watchdog({"NOTIFY_SOCKET": name})
    start = time.monotonic()
    for _ in range(2000):  # more than its queue takes
        word.ready()
    assert time.monotonic() - start < 2


def run_fed_by(name, place, **options):
    environment = os.environ | {
        "NOTIFY_SOCKET": name,
        "WATCHDOG_USEC": "40000",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("WATCHDOG_PID", None)
    command = [sys.executable, "-m", "edge_cl", "run", "-", "--mode", "learn", "--json"]
    return subprocess.Popen(
        [*command, "--bundle", "sensor.edgecl"],
        cwd=place,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_run_says_ready_then_a_word_for_frames_and_none_while_its_source_hangs(
    manager, place, call
):
    link, name = manager
    np.savez(place / "one.npz", x=np.load(place / "train.npz")["x"][:1])
    with run_fed_by(name, place) as child:
        link.settimeout(60)
        assert link.recv(4096).decode().startswith("READY=1")
        link.settimeout(0)
        time.sleep(0.3)  # many times what it is asked to be heard in: nothing is finished yet
        assert heard(link) == []
        for _ in range(3):
            child.stdin.write(f"{place}/one.npz\tmug\n")
            child.stdin.flush()
            assert '"sample"' in child.stdout.readline()
            link.settimeout(10)
            assert link.recv(4096).decode().startswith("WATCHDOG=1")
            link.settimeout(0)
            time.sleep(0.1)
            assert heard(link) == []  # the source gives nothing: that is a hang, and is told so
        child.send_signal(signal.SIGTERM)
        assert '"summary"' in child.stdout.readline()
        child.stdin.close()
        assert child.wait(60) == 0
    assert heard(link) == ["STOPPING=1"]
