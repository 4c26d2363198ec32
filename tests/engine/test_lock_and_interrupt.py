from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest

from uda_hydra.engine.interrupt import Interrupt, Interrupted
from uda_hydra.engine.lock import locked


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path):
    attempt = (
        "import sys; from pathlib import Path; from uda_hydra.engine.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('in')"
    )
    command = [sys.executable, "-c", attempt, str(tmp_path)]
    with locked(tmp_path):
        refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode != 0
    assert f"pid {os.getpid()}" in refused.stderr
    assert str(tmp_path) in refused.stderr
    assert subprocess.run(command, capture_output=True, text=True).stdout == "in\n"


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_handlers_come_back(number):
    outer = signal.signal(number, signal.SIG_DFL)
    try:
        with Interrupt() as interrupt:
            assert interrupt.received is None
            os.kill(os.getpid(), number)
            assert interrupt.received == number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outer)


@pytest.fixture
def usual_sigint():
    """Python's own handler, which a process started in the background of a script lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_sigint_acts_at_once(usual_sigint):
    with pytest.raises(KeyboardInterrupt), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_is_told_from_process_to_process():
    message = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, 7)))
    assert (str(message), message.exit_code) == ("SIGTERM after step 7", 143)
