"""A process that does one CaCo step and prints, as JSON, how long it took to get there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(root: Path, folder: Path, device: str, threads: int, quick: bool) -> dict[str, float]:
    """Seconds of imports, of building data and network, of the first step; when it was done."""
    # Imported here, for their time is a part of the answer.
    start = time.perf_counter()
    import torch

    from uda_hydra.benchmark.setup import SMALLEST, TINY, caco_trainer, streets_pair
    from uda_hydra.benchmark.timing import wait
    from uda_hydra.types import Step

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    scale, height = (SMALLEST, 64) if quick else (TINY, 128)
    where = torch.device(device)
    pair = streets_pair(root, scale, height=height)
    trainer = caco_trainer(pair, scale, steps=1, device=where, folder=folder)
    built = time.perf_counter()
    source, target = next(trainer.batches())
    trainer.step(source, target, Step(0, 0.0))
    wait(where)
    return {
        # Compared with the time at which the parent started this process.
        "done at": time.time(),
        "imports": imported - start,
        "building": built - imported,
        "first step": time.perf_counter() - built,
    }


if __name__ == "__main__":
    root, folder, device, threads, quick = sys.argv[1:]
    print(json.dumps(main(Path(root), Path(folder), device, int(threads), quick == "True")))
