"""The training loop. It knows no method by name; callbacks watch it and never touch it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from uda_hydra.data.pair import Pair
from uda_hydra.data.streams import seed_of
from uda_hydra.engine.batches import DeviceBatches, one_ahead, split
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.cost import Cost
from uda_hydra.engine.device import out_of_memory_explained, peak_memory
from uda_hydra.engine.events import Callback, Evaluation, Run
from uda_hydra.engine.finite import FiniteWatch, largest
from uda_hydra.engine.interrupt import Interrupt, Interrupted
from uda_hydra.engine.optimizers import build_optimizers, set_rates
from uda_hydra.engine.passes import Passes
from uda_hydra.engine.scores import Scores
from uda_hydra.engine.scoring import score
from uda_hydra.engine.weights import Weights
from uda_hydra.errors import Stopped
from uda_hydra.methods.base import Losses, Method, Update, check_weights
from uda_hydra.settings import EvaluationSettings, OptimizerSettings, TrainerSettings
from uda_hydra.types import Source, Step, Target


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
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.method = method.to(device, memory_format=layout)
        self.weights = Weights(weights)
        self.pair = pair
        self.settings = settings
        self.optimization = optimizer
        self.protocol = evaluation
        self.seed = seed
        self.device = device
        self.bfloat16 = bfloat16
        self.folder = folder
        self.callbacks = callbacks
        self.to_device = DeviceBatches(method.normalization, device, layout)
        players = method.players()
        self.players = {
            name: [p for p in player.module.parameters() if p.requires_grad]
            for name, player in players.items()
        }
        self.optimizers = build_optimizers(players, optimizer)
        self.checkpoints = Checkpoints(folder)
        self.cost = Cost(folder, device)
        self.done = 0
        self.keys: tuple[str, ...] = ()
        self.last: Scores | None = None
        self.label_free: dict[str, float] = {}
        self.further: dict[str, float] = {}
        """The mean IoU of what else is scored, such as the teacher."""
        self.best, self.best_step = -math.inf, 0
        self.watch = FiniteWatch(self.checkpoints.last)
        self._since, self._counted = time.perf_counter(), self.done
        """From when on, and from which step, the next log counts the speed."""

    def fit(self, run: Run, finish: Callable[[], object] = lambda: None) -> None:
        """Train from the last checkpoint (or from the beginning) to ``trainer.steps``.

        ``finish`` is called after the last step, before the callbacks' ``on_end``. Raises
        Interrupted after SIGINT or SIGTERM, and NonFiniteLoss; the state on disk is good in both
        cases.
        """
        status = "failed"
        self.cost.start()
        try:
            for callback in self.callbacks:
                callback.on_start(run)
            with Interrupt() as interrupt, out_of_memory_explained():
                self._run(interrupt)
            finish()
            status = "finished"
        except Stopped as stop:
            status = stop.status
            raise
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            for callback in self.callbacks:
                callback.on_end(status)

    def _run(self, interrupt: Interrupt) -> None:
        settings = self.settings
        self._since, self._counted = time.perf_counter(), self.done
        for source, target in self.batches():
            torch.manual_seed(seed_of(self.seed, "step", self.done))
            values = self.step(source, target, Step(self.done, self.done / settings.steps))
            self.done += 1
            self.keys = source.key + target.key
            self.watch.add(self.done, self.keys, self.weights.without_removed(values))

            finished = self.done == settings.steps
            if self.done % settings.log_every == 0 or finished:
                self._log(values)
            trained = time.perf_counter()
            if self.done % settings.evaluate_every == 0 or finished:
                self.evaluate()
            if self.done % settings.save_every == 0 or finished or interrupt.received:
                self.save()
            # The speed is that of the training alone.
            self._since += time.perf_counter() - trained
            # Also after the last step: a next stage must not begin.
            if interrupt.received:
                raise Interrupted(interrupt.received, self.done)
        for name in self.watch.zero_terms:
            print(f"{name} was 0 in every step: it had no part in this training")

    def step(self, source: Source, target: Target, step: Step) -> dict[str, Tensor]:
        """One optimisation step; returns the raw loss terms and gradient norms, on the device."""
        parts = self.settings.accumulate
        values: dict[str, Tensor] = {}
        self.method.train()
        set_rates(self.optimizers.values(), step.number, self.optimization)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.method.before_step(step)

        # Forward passes happen inside the method, between one update and the next.
        for part in split(source, target, parts):
            for update in self._updates(self.method.losses(*part, step)):
                for name, term in update.terms.items():
                    values[f"loss/{name}"] = values.get(f"loss/{name}", 0) + term.detach() / parts
                if terms := self.weights.weighted(update.terms):
                    trained = [p for name in update.players for p in self.players[name]]
                    (sum(terms) / parts).backward(inputs=trained)

        if self.method.clip_norm is not None:
            for name, parameters in self.players.items():
                norm = torch.nn.utils.clip_grad_norm_(parameters, self.method.clip_norm)
                values[f"grad_norm/{name}"] = norm.detach()
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.method.after_step(step)
        return values

    def _updates(self, losses: Losses) -> Iterator[Update]:
        """Those of the method, whose forward passes alone run under autocast."""
        while True:
            with self.precision():
                update = next(losses, None)
            if update is None:
                return
            yield update

    def precision(self) -> torch.autocast:
        """Where it is entered, networks compute in bfloat16 if ``trainer.precision`` says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def batches(self) -> Iterator[tuple[Source, Target]]:
        """Normalised batches on the device, one copied ahead of the one in use."""
        stream = self.pair.streams(
            seed=self.seed,
            steps=range(self.done, self.settings.steps),
            batch_size=self.settings.batch_size,
            workers=self.settings.workers,
            pin=self.device.type == "cuda",
            stored=self.method.stored(),
        )
        return one_ahead(self.to_device(*batch) for batch in stream)

    def _log(self, values: dict[str, Tensor]) -> None:
        self.watch.check()
        report = {name: float(value) for name, value in (values | self.method.monitor()).items()}
        for optimizer in self.optimizers.values():
            report |= {f"lr/{group['name']}": group["lr"] for group in optimizer.param_groups}
        now = time.perf_counter()
        report["speed/steps_per_second"] = (self.done - self._counted) / (now - self._since)
        self._since, self._counted = now, self.done
        report["memory/peak_gb"] = peak_memory(self.device)
        for callback in self.callbacks:
            callback.on_log(self.done, report)

    def evaluate(self) -> Scores:
        """Score the target's validation images, remember the best, call the callbacks."""
        self._check_finite()
        self.last, panels, self.label_free, self.further = score(
            self.method,
            self.pair,
            self.protocol,
            workers=self.settings.workers,
            device=self.device,
            bfloat16=self.bfloat16,
        )
        if self.last.miou > self.best:
            self.best, self.best_step = self.last.miou, self.done
            self.checkpoints.save_best(self.state_dict())
        for callback in self.callbacks:
            callback.on_evaluate(
                Evaluation(self.done, self.last, self.best, panels, self.label_free, self.further)
            )
        return self.last

    def save(self) -> None:
        """Write everything a resume needs as ``last.pt``."""
        self._check_finite()
        self.checkpoints.save(self.state_dict())
        self.cost.save()

    def _check_finite(self) -> None:
        # A finite loss says nothing about the weights after its own step.
        self.watch.add(self.done, self.keys, {"largest weight": largest(self.method)})
        self.watch.check()

    def prepare(self) -> None:
        """Let the method make what it needs before its first step; comes before ``restore``.

        Raises Interrupted after SIGINT or SIGTERM; what was computed is stored.
        """
        with Interrupt() as interrupt, out_of_memory_explained():
            passes = Passes(
                method=self.method,
                pair=self.pair,
                folder=self.folder,
                to_device=self.to_device,
                bfloat16=self.bfloat16,
                workers=self.settings.workers,
                seed=self.seed,
                shown=self.settings.steps * self.settings.batch_size,
                interrupt=interrupt,
            )
            self.method.prepare(passes)
            if interrupt.received:
                raise Interrupted(interrupt.received, self.done)

    def restore(self) -> str:
        """Take up the folder's last intact checkpoint, if there is one; comes before ``fit``.

        Returns a message about what was found.
        """
        state, message = self.checkpoints.load()
        if state is None:
            return message
        moved = self.cost.restore()
        self.load_state_dict(state)
        return (message or f"resuming after step {self.done}") + moved

    def state_dict(self) -> dict[str, object]:
        """Everything that a resumed training depends on."""
        return {
            "format": 1,
            "step": self.done,
            "method": self.method.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "best": self.best,
            "best_step": self.best_step,
            "confusion": None if self.last is None else torch.from_numpy(self.last.confusion),
            "label_free": dict(self.label_free),
            "further": dict(self.further),
            "terms": sorted(self.watch.names),
            "nonzero": sorted(self.watch.nonzero),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take up what ``state_dict`` returned."""
        self.method.load_state_dict(state["method"])
        # A finished training may have dropped the optimisers; it takes no further step.
        for name, values in state.get("optimizers", {}).items():
            self.optimizers[name].load_state_dict(values)
        self.done, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        if state["confusion"] is not None:
            confusion = state["confusion"].numpy()
            self.last = Scores(confusion, self.pair.label_space, average=self.protocol.average)
        # Checkpoints of earlier versions lack some of these.
        self.label_free = state.get("label_free", {})
        self.further = state.get("further", {})
        self.watch.names = {*state.get("terms", ())}
        self.watch.nonzero = {*state.get("nonzero", ())}
