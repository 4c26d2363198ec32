"""A discriminator for each head of a segmenter, and both sides of the game they play."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.types import SUFFIX

TERMS = tuple(
    f"{term}{suffix}"
    for term in ("adv", "disc_source", "disc_target")
    for suffix in SUFFIX.values()
)
"""Of the game, for both heads."""

Views = dict[str, Float[Tensor, "b k h w"]]
"""What the discriminators see, by head."""


class Critics(nn.Module):
    """Tells source from target by the views of each head's prediction. Tsai et al., CVPR 2018.

    ``gan`` is vanilla or ls. ``target_label`` is what the discriminators are told that the target
    is: 1, or 0 to train them as Adversarial_DA_Exp does by a slip, where they soon call everything
    source and nothing is left to learn from.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        discriminator: Callable[[], nn.Module],
        *,
        gan: str,
        target_label: int,
    ) -> None:
        super().__init__()
        if gan not in L.GANS:
            raise ValueError(f"method.gan must be one of {', '.join(L.GANS)}, got {gan}")
        if target_label not in (L.SOURCE, L.TARGET):
            raise ValueError(f"method.disc_target_label must be 0 or 1, got {target_label}")
        heads = ["main"] if segmenter.aux_head is None else ["main", "aux"]
        self.heads = nn.ModuleDict({head: discriminator() for head in heads})
        self.gan = gan
        self.target_label = target_label

    def on_target(self, views: Views) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Terms ``adv`` of the segmenter, whose target should pass for source, and ``disc_target``.

        One forward pass serves both: their gradients flow from the same scores, the one into the
        views and the other into the discriminators.
        """
        fooling, telling = {}, {}
        for head, view in views.items():
            seen = view.detach().requires_grad_()
            scores = L.full_precision(self.heads[head](seen))
            suffix = SUFFIX[head]
            as_source = L.gan(scores, L.SOURCE, kind=self.gan)
            fooling[f"adv{suffix}"] = L.through(view, seen, as_source)
            telling[f"disc_target{suffix}"] = L.gan(scores, self.target_label, kind=self.gan)
        return fooling, telling

    def on_source(self, views: Views) -> dict[str, Tensor]:
        """Terms ``disc_source`` of the discriminators."""
        terms = {}
        for head, view in views.items():
            scores = L.full_precision(self.heads[head](view))
            terms[f"disc_source{SUFFIX[head]}"] = L.gan(scores, L.SOURCE, kind=self.gan)
        return terms
