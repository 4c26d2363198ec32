"""What an adversarial step keeps for its backward passes, against the releases' sequence."""

from __future__ import annotations

import weakref

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.methods import adaptsegnet, advent


class Box:
    """Holds a saved tensor; dies with the graph that needs it."""

    def __init__(self, tensor):
        self.tensor = tensor


class Held:
    """Bytes that autograd keeps for backward passes, now and at most."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, tensor):
        box = Box(tensor)
        # Weights are there anyhow.
        size = 0 if tensor.is_leaf and tensor.requires_grad else tensor.nbytes
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(box, self.release, size)
        return box

    def release(self, size):
        self.now -= size


def most_held(call) -> int:
    held = Held()
    with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda box: box.tensor):
        call()
    return held.most


def literal(trainer, source, target, views):
    """The releases' order: source, target against the critics, and the critics on both again."""
    method, mine = trainer.method, trainer.players["segmenter"]
    seen = method.segmenter(source.image)
    sum(L.supervised(seen, source.label).values()).backward(inputs=mine)
    other = views(method.segmenter(target.image), target.image.shape[-2:])
    critics = method.critics.heads
    sum(L.gan(critics[h](v), L.SOURCE, kind="vanilla") for h, v in other.items()).backward(
        inputs=mine
    )
    with torch.no_grad():
        first = views(seen, source.image.shape[-2:])
    for domain, maps in ((L.SOURCE, first), (L.TARGET, other)):
        for head, view in maps.items():
            loss = L.gan(critics[head](view.detach()), domain, kind="vanilla")
            loss.backward(inputs=[*critics[head].parameters()])


@pytest.mark.parametrize("module", [adaptsegnet, advent])
def test_a_step_keeps_no_more_than_the_releases_sequence(make_trainer, module):
    name = module.__name__.rpartition(".")[2]
    trainer = make_trainer(f"method={name}", "trainer.steps=2")
    source, target = next(trainer.batches())
    trainer.method.train()
    plain = most_held(lambda: literal(trainer, source, target, module.views))
    ours = most_held(lambda: trainer.step(source, target, 0.0))
    # The second loss keeps the scores, one number for 1024 pixels.
    assert ours <= 1.001 * plain
    # Both at once would take this.
    summed = most_held(lambda: [*trainer.method.losses(source, target, 0.0)])
    assert ours < 0.8 * summed
