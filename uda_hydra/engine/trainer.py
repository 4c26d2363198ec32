"""The training loop. It knows no method by name; callbacks watch it and never touch it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from uda_hydra.data.pair import Pair, Validation
from uda_hydra.data.streams import seed_of
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.cost import Cost
from uda_hydra.engine.device import out_of_memory_explained, peak_memory
from uda_hydra.engine.evaluator import evaluate
from uda_hydra.engine.events import Callback, Evaluation, Panel, Run
from uda_hydra.engine.finite import FiniteWatch, largest
from uda_hydra.engine.interrupt import Interrupt, Interrupted
from uda_hydra.engine.label_free import LabelFree, single_look
from uda_hydra.engine.optimizers import build_optimizers, poly, set_rates
from uda_hydra.engine.scores import Scores
from uda_hydra.errors import Stopped
from uda_hydra.methods.base import Losses, Method, Update, check_weights
from uda_hydra.settings import EvaluationSettings, OptimizerSettings, TrainerSettings
from uda_hydra.types import Source, Target


class Trainer:
    """Owns the step counter, streams, optimisers, rates, precision, evaluation and checkpoints.

    ``weights`` maps ``lambda_<term>`` to a float for exactly the method's terms. ``device`` and
    ``bfloat16`` (autocast) come resolved; ``seed`` and the step decide every random draw.
    """

    def __init__(
        self,
        method: Method,
        pair: Pair,
        *,
        settings: TrainerSettings,
        optimizer: OptimizerSettings,
        evaluation: EvaluationSettings,
        weights: dict[str, float],
        seed: int,
        device: torch.device,
        bfloat16: bool,
        folder: Path,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        check_weights(method.terms, weights)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.method = method.to(device, memory_format=self.layout)
        self.weights = weights
        self.pair = pair
        self.settings = settings
        self.rates = optimizer
        self.protocol = evaluation
        self.normalize = method.normalization
        self.seed = seed
        self.device = device
        self.bfloat16 = bfloat16
        self.folder = folder
        self.callbacks = callbacks
        self.players = {
            name: [p for p in module.parameters() if p.requires_grad]
            for name, module in method.players().items()
        }
        self.optimizers = build_optimizers(method.players(), optimizer)
        self.checkpoints = Checkpoints(folder)
        self.cost = Cost(folder, device)
        self.done = 0
        self.keys: tuple[str, ...] = ()
        self.last: Scores | None = None
        self.label_free: dict[str, float] = {}
        self.best, self.best_step = -math.inf, 0
        self.watch = FiniteWatch(self.checkpoints.last)

    def fit(self, run: Run) -> None:
        """Train from the last checkpoint (or from the beginning) to ``trainer.steps``.

        Raises Interrupted after SIGINT or SIGTERM, and NonFiniteLoss; the state on disk is good
        in both cases.
        """
        status = "failed"
        self.cost.start()
        try:
            for callback in self.callbacks:
                callback.on_start(run)
            with Interrupt() as interrupt, out_of_memory_explained():
                self._run(interrupt)
            status = "finished"
        except (Stopped, KeyboardInterrupt):
            status = "interrupted"
            raise
        finally:
            for callback in self.callbacks:
                callback.on_end(status)

    def _run(self, interrupt: Interrupt) -> None:
        every = self.settings
        self._clock = time.perf_counter(), self.done
        for source, target in self.batches():
            torch.manual_seed(seed_of(self.seed, "step", self.done))
            set_rates(self.optimizers.values(), self._decay())
            values = self.step(source, target, self.done / every.steps)
            self.done += 1
            self.keys = source.key + target.key
            self.watch.add(self.done, self.keys, self._weighted(values))

            finished = self.done == every.steps
            if self.done % every.log_every == 0 or finished:
                self._log(values)
            if self.done % every.evaluate_every == 0 or finished:
                self.evaluate()
            if self.done % every.save_every == 0 or finished or interrupt.received:
                self.save()
            # Also after the last step: a next stage must not begin.
            if interrupt.received:
                raise Interrupted(interrupt.received, self.done)

    def step(self, source: Source, target: Target, progress: float) -> dict[str, Tensor]:
        """One optimisation step; returns the raw loss terms and gradient norms, on the device."""
        self.method.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.method.before_step()
        values: dict[str, Tensor] = {}
        for part in split(source, target, self.settings.accumulate):
            for update in self._updates(self.method.losses(*part, progress)):
                for name, term in update.terms.items():
                    share = term.detach() / self.settings.accumulate
                    values[f"loss/{name}"] = values.get(f"loss/{name}", 0) + share
                self.backward(update)
        if self.method.clip_norm is not None:
            for name, parameters in self.players.items():
                norm = torch.nn.utils.clip_grad_norm_(parameters, self.method.clip_norm)
                values[f"grad_norm/{name}"] = norm.detach()
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.method.after_step()
        return values

    def backward(self, update: Update) -> None:
        """Add the gradient of the weighted terms to the parameters of the update's player."""
        # A zero weight removes its term: 0 * inf would be nan.
        total = sum(
            weight * term
            for name, term in update.terms.items()
            if (weight := self.weights[f"lambda_{name}"]) != 0
        )
        if isinstance(total, Tensor):
            (total / self.settings.accumulate).backward(inputs=self.players[update.player])

    def _weighted(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without the terms of weight zero: what they are does not matter."""
        weights = {f"loss/{key.removeprefix('lambda_')}": w for key, w in self.weights.items()}
        return {name: value for name, value in values.items() if weights.get(name) != 0}

    def _updates(self, losses: Losses) -> Iterator[Update]:
        while True:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                update = next(losses, None)
            if update is None:
                return
            yield update

    def batches(self) -> Iterator[tuple[Source, Target]]:
        """Normalised batches on the device, one copied ahead of the one in use."""
        stream = self.pair.streams(
            seed=self.seed,
            steps=range(self.done, self.settings.steps),
            batch_size=self.settings.batch_size,
            workers=self.settings.workers,
            pin=self.device.type == "cuda",
        )
        ahead: tuple[Source, Target] | None = None
        for source, target in stream:
            if ahead is not None:
                yield ahead
            label = source.label.to(self.device, non_blocking=True).long()
            ahead = (
                Source(self._network_input(source.image), label, tuple(source.key)),
                Target(self._network_input(target.image), tuple(target.key)),
            )
        if ahead is not None:
            yield ahead

    def _network_input(self, image: Tensor) -> Tensor:
        image = self.normalize(image.to(self.device, non_blocking=True))
        return image.contiguous(memory_format=self.layout)

    def _decay(self) -> float:
        return poly(self.done, horizon=self.rates.horizon, power=self.rates.power)

    def _log(self, values: dict[str, Tensor]) -> None:
        self.watch.check()
        report = {name: float(value) for name, value in (values | self.method.monitor()).items()}
        for optimizer in self.optimizers.values():
            report |= {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
        now = time.perf_counter()
        since, step = self._clock
        self._clock = now, self.done
        report["speed/steps_per_second"] = (self.done - step) / (now - since)
        report["memory/peak_gb"] = peak_memory(self.device)
        for callback in self.callbacks:
            callback.on_log(self.done, report)

    def evaluate(self) -> Scores:
        """Score the target's validation images, remember the best, tell the callbacks."""
        self._check_weights()
        seen = LabelFree(self.device)
        self.last, panels = self._score(self.pair.validation, self.protocol, label_free=seen)
        self.label_free = seen.means()
        held_out = self.pair.source_validation
        if held_out is not None:
            source, _ = self._score(held_out, single_look(self.protocol), panels=0)
            self.label_free["miou/source_val"] = source.miou
        if self.last.miou > self.best:
            self.best, self.best_step = self.last.miou, self.done
            self.checkpoints.save_best(self._state())
        for callback in self.callbacks:
            callback.on_evaluate(
                Evaluation(self.done, self.last, self.best, panels, self.label_free)
            )
        return self.last

    def _score(
        self, images: Validation, protocol: EvaluationSettings, **options: int | LabelFree
    ) -> tuple[Scores, tuple[Panel, ...]]:
        return evaluate(
            self.method,
            images.stream(workers=self.settings.workers),
            protocol=protocol,
            label_space=self.pair.label_space,
            count=len(images),
            device=self.device,
            bfloat16=self.bfloat16,
            **options,
        )

    def save(self) -> None:
        """Write everything a resume needs as ``last.pt``."""
        self._check_weights()
        self.checkpoints.save(self._state())
        self.cost.save()

    def _check_weights(self) -> None:
        # A finite loss does not tell what its own step made of the weights.
        self.watch.add(self.done, self.keys, {"largest weight": largest(self.method)})
        self.watch.check()

    def restore(self) -> str:
        """Prepare the method, then take up the folder's last intact checkpoint if there is one.

        Returns a word about what was found. Comes before ``fit``.
        """
        self.method.prepare(self.pair, self.folder)
        state, note = self.checkpoints.load()
        if state is None:
            return note
        self.cost.restore()
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.done, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        if state["confusion"] is not None:
            confusion = state["confusion"].numpy()
            self.last = Scores(confusion, self.pair.label_space, average=self.protocol.average)
        # Checkpoints of earlier versions hold none.
        self.label_free = state.get("label_free", {})
        return note or f"resuming after step {self.done}"

    def _state(self) -> dict[str, object]:
        return {
            "format": 1,
            "step": self.done,
            "method": self.method.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "best": self.best,
            "best_step": self.best_step,
            "confusion": None if self.last is None else torch.from_numpy(self.last.confusion),
            "label_free": dict(self.label_free),
        }


def split(source: Source, target: Target, parts: int) -> Iterator[tuple[Source, Target]]:
    """The samples of a batch in ``parts`` batches of equal size, in order."""
    size = len(source.image) // parts
    for start in range(0, size * parts, size):
        one = slice(start, start + size)
        yield Source(*_sliced(source, one)), Target(*_sliced(target, one))


def _sliced(batch: Source | Target, one: slice) -> Iterator[object]:
    """Each field of the batch for some of its samples; what a batch lacks stays None."""
    for field in batch:
        if isinstance(field, Mapping):
            yield {name: value[one] for name, value in field.items()}
        else:
            yield None if field is None else field[one]
