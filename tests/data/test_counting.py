"""A line now and then in a pipe, one live line on a terminal."""

from __future__ import annotations

import io

import pytest

from uda_hydra.data.counting import Count


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def counted(stream: io.StringIO, total: int, seconds: float) -> str:
    """What is printed for files of so many seconds each."""
    now = [0.0]
    count = Count("scan", stream, clock=lambda: now[0])
    for done in range(total + 1):
        count(done, total)
        now[0] += seconds
    return stream.getvalue()


@pytest.mark.parametrize("seconds", [0.001, 0.01])
def test_a_short_task_is_one_line_in_a_pipe(seconds):
    assert counted(io.StringIO(), 1000, seconds) == "scan: 1000/1000 files\n"


def test_a_long_task_is_a_line_in_fifteen_seconds():
    text = counted(io.StringIO(), 40, 1.0)
    assert text == "scan: 15/40 files\nscan: 30/40 files\nscan: 40/40 files\n"


def test_a_terminal_shows_one_live_line():
    text = counted(Screen(), 1000, 0.01)
    assert 90 < text.count("\r") < 110 and text.count("\n") == 1
    assert text.endswith("\rscan: 1000/1000 files\033[K\n")


def test_nothing_to_do_ends_at_once():
    assert counted(io.StringIO(), 0, 1.0) == "scan: 0/0 files\n"
