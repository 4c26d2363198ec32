"""Sends a run's new metrics and files while it trains, in a thread that never delays it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from uda_hydra.tracking.sender import Sender, reason

log = logging.getLogger(__name__)

LAST_TRY = 2.5
"""Seconds that the end of a run waits for a store that has not answered so far."""


class Uploader:
    """A thread that sends what is new in a folder until ``close``.

    A store that fails costs the training nothing: the thread retries, less and less often.
    """

    def __init__(self, folder: Path, *, period: float) -> None:
        self._sender = Sender(folder)
        self._period = period
        self._closing = threading.Event()
        self._delivered = False
        self._failing = False
        # A daemon: an unfinished upload must not keep a finished training from exiting.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def close(self, *, patience: float) -> bool:
        """Send the rest within ``patience`` seconds and stop; return whether all of it arrived."""
        self._closing.set()
        self._thread.join(min(patience, LAST_TRY) if self._failing else patience)
        return self._delivered

    def _work(self) -> None:
        wait = self._period
        while True:
            # Read before sending: what is logged before ``close`` is then sure to be sent.
            last = self._closing.is_set()
            try:
                self._sender.send()
                self._recover()
                self._delivered, wait = last, self._period
            except Exception as error:  # no failure of a store may stop a training
                self._fail(error)
                wait = min(2 * wait, 60.0)
            if last:
                self._sender.close()
                return
            self._closing.wait(wait)

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            text = reason(error)
            log.warning("tracking failed and will retry; metrics are kept on disk: %s", text)
        self._failing = True

    def _recover(self) -> None:
        if self._failing:
            log.info("the tracking store answers again")
        self._failing = False
