"""SIGINT, SIGTERM and SIGHUP ask a training to stop after the step it is in."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from uda_hydra.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP comes when a terminal or an ssh connection goes away."""


class Interrupted(Stopped):
    """A signal stopped the training after a step, or before the first one, as ``where`` says."""

    def __init__(self, number: int, where: int | str) -> None:
        where = f"after step {where}" if isinstance(where, int) else where
        super().__init__(f"{signal.Signals(number).name} {where}")
        self.exit_code = 128 + number
        self._arguments = number, where

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        # A launcher sends it from the training's process to the sweep's.
        return Interrupted, self._arguments


class Interrupt:
    """While entered, the first signal is only stored in ``received``; a second acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        # nohup has SIGHUP ignored, and means it; a shell's "&" has SIGINT ignored, unasked.
        kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
        wanted = [number for number in SIGNALS if number not in kept]
        self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
