import pytest
import torch
from torch import nn

import uda_hydra.losses as L
from tests.toys.networks import STEP
from uda_hydra.methods.caco import CaCo, scaled_size
from uda_hydra.types import Prediction, Source, Target

OPTIONS = {
    "ema_momentum": 0.9,
    "queue_length": 2,
    "key_threshold": 0.0,
    "source_keys": "student",
    "reliability_clamp": 0.1,
    "temperature": 0.07,
    "base_temperature": 0.07,
    "contrast_mean": "keys",
    "gate": "full",
    "gate_classes": None,
    "scale_range": (80, 120),
    "clip_norm": 1.0,
}


class Toy(nn.Module):
    """A strided convolution with two heads; without biases noise shows both classes."""

    num_classes = 2
    feature_channels = 4

    def __init__(self, *, aux: bool = True):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4, bias=False)
        self.main = nn.Conv2d(4, 2, 1)
        nn.init.zeros_(self.main.bias)
        self.aux = nn.Conv2d(4, 2, 1) if aux else None

    def forward(self, image):
        features = self.stem(image)
        aux = None if self.aux is None else self.aux(features)
        return Prediction(self.main(features), aux, features)


def toy(**changes) -> CaCo:
    torch.manual_seed(0)
    return CaCo(Toy(aux=changes.pop("aux", True)), **OPTIONS | changes)


def batch(count: int = 1) -> tuple[Source, Target]:
    torch.manual_seed(1)
    label = torch.randint(0, 2, (count, 16, 24))
    return Source(torch.randn(count, 3, 16, 24), label), Target(torch.randn(count, 3, 24, 32))


def run(method: CaCo, steps: int = 1, count: int = 1) -> dict[str, torch.Tensor]:
    """Terms of the last of some steps without an optimiser."""
    for _ in range(steps):
        updates = list(method.losses(*batch(count), STEP))
    return updates[0].terms | updates[1].terms


def test_terms_come_in_two_updates():
    first, second = toy().losses(*batch(), STEP)
    assert set(first.terms) == {"seg", "seg_aux"}
    assert set(first.terms | second.terms) == set(CaCo.terms)
    assert first.players == second.players == ("segmenter",)


def test_without_an_auxiliary_head_its_terms_are_missing():
    assert set(run(toy(aux=False))) == {"seg", "consistency", "contrast"}


def test_the_gate_opens_when_every_class_has_all_its_keys():
    method = toy(queue_length=3)
    # Source and target show both classes, so every step brings each class two keys.
    terms = run(method)
    assert method.queue.pushed.tolist() == [2, 2]
    assert terms["contrast"] == 0
    terms["contrast"].backward()
    assert method.segmenter.stem.weight.grad.eq(0).all()

    terms = run(method)
    assert terms["contrast"] != 0
    terms["contrast"].backward()
    assert method.segmenter.stem.weight.grad.abs().sum() > 0


def test_a_class_that_is_not_counted_does_not_keep_the_gate_closed():
    source, target = batch()
    zeros = source._replace(label=torch.zeros_like(source.label))
    opened = {}
    for gate_classes in (None, (0,)):
        # No target cell is sure enough, so class 1 gets no key and class 0 one a step.
        method = toy(key_threshold=1.0, gate_classes=gate_classes)
        for _ in range(2):
            *_, update = method.losses(zeros, target, STEP)
        assert method.monitor()["queue/complete"] == 1
        opened[gate_classes] = method.monitor()["queue/fill"] == 1, update.terms["contrast"]
    assert opened[None] == (False, 0)
    assert opened[(0,)][0]
    assert opened[(0,)][1] != 0


def test_without_a_gate_the_filled_slots_are_used():
    assert run(toy(queue_length=50, gate="none"))["contrast"] != 0


def test_contrast_does_not_train_the_heads_and_reaches_no_teacher():
    method = toy()
    run(method, steps=2)["contrast"].backward()
    assert method.segmenter.main.weight.grad is None
    assert all(p.grad is None for p in method.teacher.parameters())


def test_the_teacher_follows_before_anything_is_forwarded():
    method = toy(ema_momentum=0.75)
    with torch.no_grad():
        method.segmenter.main.bias.fill_(4)
        method.teacher.network.main.bias.zero_()
    method.before_step(STEP)
    assert method.teacher.network.main.bias.tolist() == [1, 1]


def test_source_keys_come_from_the_network_that_is_asked_for():
    keys = {}
    for network in ("student", "teacher"):
        method = toy(source_keys=network, key_threshold=1.0, ema_momentum=1.0)
        with torch.no_grad():
            method.teacher.network.stem.weight.mul_(2)
        run(method)
        keys[network] = method.queue.keys[:, 0]
    torch.testing.assert_close(keys["teacher"], 2 * keys["student"])


def test_a_batch_fills_the_dictionary_image_by_image():
    method = toy(queue_length=4)
    source, target = batch(count=2)
    run(method, count=2)

    assert method.queue.pushed.tolist() == [4, 4]
    seen, reference = method.segmenter(source.image), method.teacher(target.image)
    # The stride is 4: cell i reads the label of pixel 4 i.
    small = source.label[:, ::4, ::4]
    cells = reference.main.argmax(dim=1)
    expected = [
        features[i, :, labels[i] == 1].mean(dim=1)
        for i in range(2)
        for features, labels in ((seen.features, small), (reference.features, cells))
    ]
    torch.testing.assert_close(method.queue.keys[1], torch.stack(expected))


def test_the_view_is_compared_on_the_teachers_grid():
    method, (source, target) = toy(scale_range=(60, 70)), batch()
    torch.manual_seed(3)
    view = method.rescaled(target.image)
    second, reference = method.segmenter(view), method.teacher(target.image)
    assert view.shape[-2:] == (16, 24)

    updates = method.losses(source, target, STEP)
    next(updates)
    torch.manual_seed(3)
    terms = next(updates).terms

    assert terms["consistency"] == L.consistency(second.main, reference.main)
    assert terms["consistency_aux"] == L.consistency(second.aux, reference.aux)


def test_sizes_are_rounded_half_to_even():
    assert scaled_size((512, 1024), 80) == (408, 816)  # 51.2, 102.4 times 8
    assert scaled_size((100, 100), 100) == (96, 96)  # 12.5 times 8
    assert scaled_size((108, 108), 100) == (112, 112)  # 13.5 times 8


def test_the_scale_is_drawn_from_the_half_open_range():
    method = toy(scale_range=(50, 52))
    image = torch.zeros(1, 3, 800, 800)
    sizes = {method.rescaled(image).shape[-1] for _ in range(40)}
    assert sizes == {400, 408}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ema_momentum", 1.5),
        ("queue_length", 0),
        ("key_threshold", 1.1),
        ("source_keys", "both"),
        ("reliability_clamp", 1.0),
        ("temperature", 0.0),
        ("base_temperature", -1.0),
        ("contrast_mean", "all"),
        ("gate", "open"),
        ("gate_classes", [2]),
        ("scale_range", (120, 80)),
        ("scale_range", (80, 100, 120)),
        ("clip_norm", 0.0),
    ],
)
def test_a_value_out_of_range_names_its_key(key, value):
    with pytest.raises(ValueError, match=rf"^method\.{key} must be .*, got "):
        toy(**{key: value})
