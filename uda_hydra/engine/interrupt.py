"""SIGINT and SIGTERM ask a training to stop after the step it is in."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from uda_hydra.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Stopped):
    """A signal stopped the training after a step, or before the first one: ``where`` says it."""

    def __init__(self, number: int, where: int | str) -> None:
        where = f"after step {where}" if isinstance(where, int) else where
        super().__init__(f"{signal.Signals(number).name} {where}")
        self.exit_code = 128 + number
        self._arguments = number, where

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        # A launcher sends it from the training's process to the sweep's.
        return Interrupted, self._arguments


class Interrupt:
    """While entered, the first signal is only noted in ``received``; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
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
