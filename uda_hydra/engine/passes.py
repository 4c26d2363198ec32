"""Passes over the training images before the first step: in order, without gradient, stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda_hydra.data.counting import Count
from uda_hydra.data.ordered import Ordered
from uda_hydra.data.pair import Pair
from uda_hydra.data.scan import Statistics, scan
from uda_hydra.data.streams import load, seed_of
from uda_hydra.engine.artifacts import Artifact, Item, Stored, reopened
from uda_hydra.engine.batches import DeviceBatches
from uda_hydra.engine.evaluator import observing
from uda_hydra.engine.interrupt import Interrupt, Interrupted
from uda_hydra.errors import UserError
from uda_hydra.methods.base import Method
from uda_hydra.types import Source, Target

Batch = Source | Target


@dataclass(frozen=True, kw_only=True)
class Passes:
    """What ``Method.prepare`` may ask for. Each artifact is made once and then only read."""

    method: Method
    pair: Pair
    folder: Path
    to_device: DeviceBatches
    bfloat16: bool
    workers: int
    seed: int
    shown: int
    """How many samples of each domain the training shows."""
    interrupt: Interrupt

    def run(
        self,
        name: str,
        *,
        compute: Callable[[Any], Item],
        encoding: str = "exact",
        kind: str = "soft",
        stride: int = 1,
        **options: Any,
    ) -> Artifact:
        """One artifact: what ``compute`` returns for each sample. ``options`` as in ``run_all``.

        ``encoding``, ``kind`` and ``stride`` as in ``Stored``.
        """
        stored = {name: {"encoding": encoding, "kind": kind, "stride": stride}}
        return self.run_all(stored, compute=lambda batch: {name: compute(batch)}, **options)[name]

    def run_all(
        self,
        artifacts: Mapping[str, Mapping[str, Any]],
        *,
        over: str,
        compute: Callable[[Any], Mapping[str, Item]],
        size: tuple[int, int] | None = None,
        batch: int = 1,
        mirror: bool = False,
        count: int | None = None,
        train: bool = False,
        depends_on: Mapping[str, Any] | None = None,
    ) -> dict[str, Artifact]:
        """Several artifacts, each with the options of ``Stored``, from one pass over a domain.

        ``over`` is "source" or "target"; only source batches have labels. ``compute`` gets
        normalised batches on the device and returns, for each artifact, a tensor
        or a dictionary of them, with one row for each sample; it must not depend on earlier
        batches. Its settings belong into ``depends_on``, as plain values: where they, the data,
        the method's weights or the other arguments change, the pass is made again.

        ``size`` (width, height) replaces the size of training. ``count`` images at most are taken,
        evenly spread over the domain's list. ``train``: normalise with the
        statistics of the batch; buffers are as before afterwards. Only batches with a missing or
        damaged item are computed. Raises Interrupted after the batch in which a signal came.
        """
        identity = {
            "over": over,
            "size": size,
            "batch": batch,
            "mirror": mirror,
            "count": count,
            "train": train,
            "depends_on": dict(depends_on or {}),
            "data": self.pair.fingerprint()[over],
            "classes": self.classes,
            "trained_at": self._sizes(),
            "weights": weights_digest(self.method),
            "normalization": self.to_device.normalization._asdict(),
            "bfloat16": self.bfloat16,
        }
        opened = {
            name: Artifact(self.folder / name, identity=identity, stored=Stored(**stored))
            for name, stored in artifacts.items()
        }
        images = Ordered(self.pair, over, batch=batch, size=size, mirror=mirror, count=count)
        keys = [key for group in images.keys for key in group]
        missing = {name: {*artifact.keys_missing(keys)} for name, artifact in opened.items()}
        wanted = set[str]().union(*missing.values())
        numbers = [n for n, group in enumerate(images.keys) if wanted & {*group}]
        if numbers:
            for artifact in opened.values():
                artifact.remove_partial()

            def keep(number: int, results: Mapping[str, Item]) -> None:
                for name, artifact in opened.items():
                    _store(artifact, images.keys[number], missing[name], results[name])

            self._compute(images, numbers, compute, keep, train=train, title=", ".join(opened))
        for artifact in opened.values():
            artifact.finish(keys)
        return opened

    def summary(
        self,
        name: str,
        reduce: Callable[[Iterator[Item]], Item],
        *,
        of: Artifact,
        depends_on: Mapping[str, Any] | None = None,
        keys: Sequence[str] | None = None,
    ) -> Item:
        """``reduce`` of the items of ``of`` in the order of the pass; computed once and stored.

        ``keys`` chooses items (all by default); ``depends_on`` as in ``run_all``.
        """
        keys = of.keys if keys is None else tuple(keys)
        identity = {"of": of.identity, "keys": keys, "depends_on": dict(depends_on or {})}
        artifact = Artifact(self.folder / name, identity=identity)
        if artifact.keys_missing(["summary"]):
            artifact.remove_partial()
            artifact.write("summary", reduce(of.read(key) for key in keys))
            artifact.finish(["summary"])
        return artifact.read("summary")

    def open(self, folder: str, *, over: str, kind: str = "soft", stride: int = 1) -> Artifact:
        """The artifact in ``folder``, which an earlier stage has made; it is only read.

        Raises UserError, naming the folder, unless it has an intact item of every image of the
        domain ``over``, for the classes of this training.
        """
        found = reopened(Path(folder), kind=kind, stride=stride)
        if found is None:
            raise UserError(
                f"{folder} holds nothing that a pass has stored; labels are in the folder labels "
                "of the stage that made them"
            )
        # Earlier versions did not note the classes.
        classes = tuple(found.identity.get("classes", self.classes))
        if classes != self.classes:
            raise UserError(
                f"{folder} is of {len(classes)} classes ({', '.join(classes)}), which are not the "
                f"{len(self.classes)} of dataset.classes"
            )
        keys = (self.pair.source if over == "source" else self.pair.target).keys
        if missing := found.keys_missing(keys):
            raise UserError(
                f"{folder} lacks {len(missing)} of {len(keys)} items, such as {missing[0]}, or "
                "they are damaged. If a stage of this run has made it, delete that stage's folder "
                "and start the same command again; if not, it is of other images."
            )
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the logits."""
        return tuple(self.pair.label_space.names)

    def source_statistics(self) -> Statistics:
        """Pixels of each class in each label file of the source; each file is counted once."""
        return scan(
            self.pair.source.images,
            workers=self.workers,
            journal=self.folder / "source_labels.jsonl",
            progress=lambda done, total: self._stop_if_asked(
                f"while counting labels, {done} of {total} files done"
            ),
        )

    def _compute(
        self,
        images: Ordered,
        numbers: Sequence[int],
        compute: Callable[[Any], Mapping[str, Item]],
        keep: Callable[[int, Mapping[str, Item]], None],
        *,
        train: bool,
        title: str,
    ) -> None:
        """Let ``keep`` have the results of the batches ``numbers``, each drawn from its seed."""
        images.fill()
        count = Count(f"pass {title}", unit="batches")
        device = self.to_device.device
        with observing(self.method, device, train=train):
            pin = device.type == "cuda"
            batches = load(images, numbers, workers=self.workers, pin=pin)
            for done, (number, batch) in enumerate(zip(numbers, batches, strict=True), start=1):
                torch.manual_seed(seed_of(self.seed, "pass", number))
                with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                    results = compute(self._on_device(batch))
                keep(number, results)
                count(done, len(numbers))
                self._stop_if_asked(f"in the pass {title}, {done} of {len(numbers)} batches done")

    def _on_device(self, batch: Batch) -> Batch:
        batch = batch._replace(image=self.to_device.images(batch.image), key=tuple(batch.key))
        if isinstance(batch, Source):
            label = batch.label.to(self.to_device.device, non_blocking=True).long()
            return batch._replace(label=label)
        return batch

    def _stop_if_asked(self, where: str) -> None:
        if self.interrupt.received:
            raise Interrupted(self.interrupt.received, where)

    def _sizes(self) -> list[tuple[int, int] | None]:
        return [self.pair.source.size, self.pair.target.size]


def _store(artifact: Artifact, keys: Sequence[str], missing: set[str], result: Item) -> None:
    """The rows of a batch's result whose items are missing."""
    for row, key in enumerate(keys):
        if key in missing:
            one = isinstance(result, Tensor)
            artifact.write(key, result[row] if one else {n: t[row] for n, t in result.items()})


def weights_digest(method: Method) -> str:
    """Changes with every parameter and persistent buffer."""
    total = hashlib.sha256()
    for name, value in method.state_dict().items():
        total.update(f"{name} {value.dtype} {[*value.shape]}".encode())
        plain = value.detach().cpu().contiguous().flatten()
        total.update(plain.view(torch.uint8).numpy())
    return total.hexdigest()[:16]
