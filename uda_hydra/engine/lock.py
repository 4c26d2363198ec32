"""One process on one output folder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uda_hydra import files


def is_held(folder: Path) -> bool:
    """Whether another process holds ``folder``; False where that cannot be seen."""
    try:
        with (folder / ".lock").open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def locked(folder: Path, part: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder``, made if need be, or a ``part`` of it; the system frees it when one dies.

    If another process has it, ``wait`` for that one to end, else raise OSError. Raises OSError
    if nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Per process: data loading workers would keep the lock when their parent is killed.
            held = files.locked(
                folder / (f".{part}.lock" if part else ".lock"),
                wait=wait,
                waiting=f"waiting for {folder / part}",
                per_process=True,
            )
            stack.enter_context(held)
        except BlockingIOError as error:
            raise OSError(
                f"{error}; wait for it, stop it, or choose another folder with output=..."
            ) from None
        except OSError as error:
            raise OSError(
                f"nothing can be written into {folder} ({error.strerror}); make it writable or "
                "choose another folder with output=..."
            ) from error
        yield
