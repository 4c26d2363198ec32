"""Work shared out to processes that draw or decode images. Without torch, which starts slowly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from uda_hydra.errors import UserError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def shared_out(
    work: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    *,
    workers: int,
    chunk: int = 1,
    fewer: str = "taskset -c 0 before the command",
) -> Iterator[_Result]:
    """``work`` of every job, in order; with fewer than two ``workers`` in this process.

    ``chunk`` jobs are handed over at a time. ``fewer`` says how a person gets fewer workers, if not
    by fewer ``cores``.
    """
    if workers < 2:
        yield from map(work, jobs)
        return
    # Spawned and not forked: a forked child of a process with threads can hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield from pool.map(work, jobs, chunksize=chunk)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads or draws the data was killed, most likely for want of memory; "
            f"use fewer at once ({fewer}), then start the same command again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Workers leave the cores to each other, Ctrl-C to their parent, and die with it."""
    cv2.setNumThreads(0)
    # Read when the work imports torch, if it does.
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
