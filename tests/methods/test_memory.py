"""What an adversarial step keeps for its backward passes, against the releases' sequence."""

from __future__ import annotations

import weakref

import pytest
import torch

import uda_hydra.losses as L
from tests.toys.networks import STEP


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


def literal(trainer, source, target):
    """The releases' order: source, target against the discriminators, these again on both."""
    method, mine = trainer.method, trainer.players["segmenter"]
    prediction = method.segmenter(source.image)
    sum(L.supervised(prediction, source.label).values()).backward(inputs=mine)
    other = method.views(method.segmenter(target.image), target)
    judges = method.discriminators
    sum(L.gan(judges[h](v), L.SOURCE, kind="vanilla") for h, v in other.items()).backward(
        inputs=mine
    )
    with torch.no_grad():
        first = method.views(prediction, source)
    for domain, maps in ((L.SOURCE, first), (L.TARGET, other)):
        for head, view in maps.items():
            loss = L.gan(judges[head](view.detach()), domain, kind="vanilla")
            loss.backward(inputs=[*judges[head].parameters()])


@pytest.mark.parametrize("name", ["adaptsegnet", "advent"])
def test_a_step_keeps_no_more_than_the_releases_sequence(make_trainer, name):
    trainer = make_trainer(f"method={name}", "trainer.steps=2")
    source, target = next(trainer.batches())
    trainer.method.train()
    plain = most_held(lambda: literal(trainer, source, target))
    ours = most_held(lambda: trainer.step(source, target, STEP))
    assert ours <= 1.001 * plain
    # Both at once would take this.
    summed = most_held(lambda: [*trainer.method.losses(source, target, STEP)])
    assert ours < 0.8 * summed
