"""Ctrl-C waits until a change is whole."""

import os
import signal
import threading

import pytest

from edge_cl.interrupts import interrupts_wait


def test_an_interrupt_comes_after_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")
        done.append("never")
    assert done == ["whole"]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_error_in_the_block_passes_on_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interrupts_wait():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_caller_is_called_once_and_late():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert not calls
        assert calls == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_have_nothing_to_hold():
    entered = []

    def work():
        with interrupts_wait():
            entered.append(threading.current_thread().name)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert entered == ["worker"]
