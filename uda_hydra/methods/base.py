"""What a method is: raw losses in the order of the paper, one ``Update`` per backward pass.

Every method file has the same sections in the same order: options (``__init__``), ``players``,
``check_views``, ``prepare``, ``before_step``, ``losses`` with its helpers, ``after_step``,
``monitor``, and the pure functions that belong to this method alone. What a method does not need is
left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from uda_hydra.data.scan import Statistics
from uda_hydra.errors import UserError
from uda_hydra.memory import EmaTeacher
from uda_hydra.types import Normalization, Predictor, Source, Step, Target


class Update:
    """Raw loss terms of one backward pass, and the players whose parameters they train.

    Terms that share a graph belong in the same update.
    """

    def __init__(self, *players: str, **terms: Tensor) -> None:
        self.players = players
        self.terms = terms


Losses = Iterator[Update]


class Player(NamedTuple):
    """A module that an optimiser of its own trains.

    Its kind says which one: "segmenter" is the configured SGD or AdamW with the groups backbone and
    heads, "head" the same algorithm at the rate of the heads, "discriminator" Adam at
    ``optimizer.discriminator_lr``.
    """

    module: nn.Module
    kind: Literal["segmenter", "head", "discriminator"]


Item = Tensor | dict[str, Tensor]
"""What is stored of one sample."""


@runtime_checkable
class Store(Protocol):
    """Items by sample key, on disk; ``engine.artifacts.Artifact``."""

    kind: str
    """"soft" or "label": whether a view may interpolate the maps."""
    stride: int
    """Pixels of the image for each cell of the map."""
    keys: tuple[str, ...]

    def read(self, key: str) -> Item:
        """One item, verified."""


@runtime_checkable
class Passes(Protocol):
    """What ``Method.prepare`` may ask the engine for; ``engine.passes.Passes`` says all of it."""

    shown: int
    """How many samples of each domain the training shows."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the logits."""

    def run(self, name: str, *, over: str, compute: Callable[..., Item], **options: Any) -> Store:
        """What ``compute`` makes of each image of "source" or "target", made once and stored."""

    def run_all(
        self,
        artifacts: Mapping[str, Mapping[str, Any]],
        *,
        over: str,
        compute: Callable[..., Any],
        **options: Any,
    ) -> Mapping[str, Store]:
        """Several artifacts from one pass."""

    def summary(
        self, name: str, reduce: Callable[[Iterator[Item]], Item], *, of: Store, **options: Any
    ) -> Item:
        """``reduce`` of a pass's items in their order, made once and stored."""

    def open(self, folder: str, *, over: str, kind: str = "soft", stride: int = 1) -> Store:
        """What a pass of an earlier stage has stored of every image of a domain."""

    def source_statistics(self) -> Statistics:
        """Pixels of each class in each label file of the source."""


class Method(nn.Module, ABC):
    """A way to train a segmenter on labelled source and unlabelled target images.

    Whatever must survive a step is a submodule or a buffer. Methods are final.
    """

    terms: ClassVar[tuple[str, ...]]
    """Names of the raw losses; the config's ``loss`` holds exactly ``lambda_<term>`` for these."""

    clip_norm: float | None = None
    """Largest gradient norm of a player (over all its trainable parameters), or no clipping."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.labels: Store | None = None
        """Pseudo labels of the target, where ``prepare`` makes or opens some."""
        self.seen: dict[str, Tensor] = {}
        """Scalars of the last losses that are worth a curve."""

    def players(self) -> dict[str, Player]:
        """Everything that is trained, by the name that an ``Update`` calls it.

        No two players share a parameter. A module that is in none (a teacher, a frozen network) is
        never changed by a gradient.
        """
        return {"segmenter": Player(self.segmenter, "segmenter")}

    def check_views(self, augmentation: object) -> None:
        """Raise ValueError unless ``augmentation`` makes the views that the losses read."""

    def prepare(self, passes: Passes) -> None:
        """At the start of each process, before a checkpoint is loaded: ask for what is stored.

        Pseudo labels, prototypes ... What an earlier process has stored is read and not computed
        again; buffers are overwritten by those of the checkpoint where one is resumed.
        """

    def stored(self) -> dict[str, Store]:
        """Stores made by ``prepare``, by name; their items join a batch as ``Target.stored``."""
        return {} if self.labels is None else {"labels": self.labels}

    def before_step(self, step: Step) -> None:
        """Once a step, before its losses, however many parts the batch is split into.

        The gradients are zero, the rates are the step's, the modules are in train mode. Here a
        teacher follows that is to lag one step behind.
        """

    @abstractmethod
    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Yield one ``Update`` per backward pass, which is done before the next one is asked for.

        So the graph of one update is free before the next is built. With ``trainer.accumulate`` it
        runs once for each part of the batch. Random numbers come from torch's global generator,
        which is seeded for the step. Never yield inside a ``with``: the code that consumes the
        losses runs between the yields.
        """

    def after_step(self, step: Step) -> None:
        """Once a step, after all optimisers have stepped; ``step`` is the one just done."""

    def monitor(self) -> dict[str, Tensor]:
        """Scalars other than losses that are worth a curve, such as the fill of a dictionary.

        Asked for at log steps only; they change nothing and stay on the device.
        """
        return self.seen

    def diagnose(self, image: Tensor) -> dict[str, Tensor]:
        """Pseudo labels (b, h, w) of normalised images that are drawn with their error, by name.

        Such as those before and after they are rectified. Asked in eval mode at evaluations, for
        validation images; for people alone, so it changes nothing and trains nothing.
        """
        return {}

    def scored(self, network: str | None) -> dict[str, Predictor]:
        """What an evaluation scores, by name: "student" (or None), "teacher", or "both".

        The student is the method itself. Raises ValueError where there is no teacher.
        """
        known: dict[str, Predictor] = {"student": self}
        for module in self.children():
            if isinstance(module, EmaTeacher):
                known["teacher"] = module.network
        wanted = ("student", "teacher") if network == "both" else (network or "student",)
        if not known.keys() >= {*wanted}:
            raise ValueError(
                f"evaluation.network={network}: this method has no teacher; choose student"
            )
        return {name: known[name] for name in wanted}

    @property
    def normalization(self) -> Normalization:
        """How uint8 RGB becomes the segmenter's input."""
        return self.segmenter.normalization

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        """Logits (b, classes, h, w) of a normalised image, at any resolution; used in eval mode.

        ``aux_weight`` times those of the auxiliary head are added where it is not 0.
        """
        return self.segmenter.predict(image, aux_weight=aux_weight)


class Preparation(Method):
    """A stage whose work is all done by ``prepare``: labels, centres; nothing is trained."""

    terms = ()

    def players(self) -> dict[str, Player]:
        """None."""
        return {}

    def stored(self) -> dict[str, Store]:
        """None: its labels are for later stages."""
        return {}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """No loss."""
        yield from ()


def check_weights(terms: Sequence[str], weights: dict[str, float]) -> None:
    """Raise ValueError unless ``weights`` has exactly ``lambda_<term>`` for every term."""
    wanted = {f"lambda_{term}" for term in terms}
    missing, unknown = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    complaints = [f"loss.{key} is missing" for key in missing]
    complaints += [f"loss.{key} weighs no term of this method" for key in unknown]
    if complaints:
        valid = ", ".join(f"loss.{key}" for key in sorted(wanted))
        raise ValueError(f"{'; '.join(complaints)}. The method has {valid}.")


def check_one_size(source: Sequence[int], target: Sequence[int]) -> None:
    """Raise UserError unless the sizes, (height, width) of each domain's images, are equal."""
    if (*source,) != (*target,):
        shown = " and ".join(f"{width} x {height}" for height, width in (source, target))
        raise UserError(
            f"classes of a source image cannot be pasted onto a target image of another size: "
            f"these are {shown}. Cut both to one augmentation.crop, as augmentation=ratio_crop "
            "does, or leave out the mix (method.mix=none, extra.mix=none)"
        )


def require(key: str, value: object, wanted: str, holds: bool) -> None:
    """Raise ValueError, naming ``method.<key>`` and what it must be, unless it ``holds``."""
    if not holds:
        raise ValueError(f"method.{key} must be {wanted}, got {value}")


def require_choice(key: str, value: str, *known: str) -> None:
    """Raise ValueError unless the value is one of those known."""
    require(key, value, f"one of {', '.join(known)}", value in known)


def require_fraction(**values: float) -> None:
    """Raise ValueError unless every option, given by its key, is in [0, 1]."""
    for key, value in values.items():
        require(key, value, "in [0, 1]", 0 <= value <= 1)


def require_positive(**values: float | None) -> None:
    """Raise ValueError unless every option, given by its key, is positive, or null where it may."""
    for key, value in values.items():
        require(key, value, "positive", value is None or value > 0)
