"""Labels and counts against the plain way; evaluation leaves no trace on the method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import protocol
from tests.label_spaces import numbered, space
from uda_hydra.data.pair import ValidationSample
from uda_hydra.engine import evaluator
from uda_hydra.engine.evaluator import count_pixels, evaluate
from uda_hydra.engine.labels import predict_labels
from uda_hydra.errors import UserError
from uda_hydra.types import IGNORE, Normalization

PLAIN = Normalization("rgb", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
COLOURS = space("red", "green", "blue")
CPU = torch.device("cpu")


class Brightest(nn.Module):
    """Predicts the brightest colour channel, at half the size of the image."""

    normalization = PLAIN

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        assert not torch.is_grad_enabled() and not self.training
        return self.segmenter(image[..., ::2, ::2])


def slow_labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, pixel by pixel, in float64."""
    _, h, w = logits.shape
    result = torch.zeros(size, dtype=torch.uint8)
    for row in range(size[0]):
        for column in range(size[1]):
            y = row * (h - 1) / (size[0] - 1)
            x = column * (w - 1) / (size[1] - 1)
            top, left = min(int(y), h - 2), min(int(x), w - 2)
            corners = logits[:, top : top + 2, left : left + 2].double()
            across = corners[:, :, 0] * (1 - (x - left)) + corners[:, :, 1] * (x - left)
            value = across[:, 0] * (1 - (y - top)) + across[:, 1] * (y - top)
            result[row, column] = int(value.argmax())
    return result


def test_labels_equal_a_slow_loop():
    logits = torch.randn(1, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(predict_labels(logits, (13, 17)), slow_labels(logits[0], (13, 17)))


@pytest.mark.parametrize(
    ("cells", "size"),
    [
        ((9, 17), (64, 128)),
        ((9, 17), (65, 129)),
        ((9, 17), (9, 17)),
        ((9, 17), (5, 7)),
        ((1, 3), (8, 8)),
        ((3, 1), (8, 8)),
        ((5, 5), (1, 1)),
        ((33, 65), (512, 1024)),
    ],
)
def test_labels_equal_upsampling_and_argmax(cells, size):
    logits = torch.randn(1, 19, *cells, generator=torch.Generator().manual_seed(1))
    plain = F.interpolate(logits, size=size, mode="bilinear", align_corners=True).argmax(dim=1)
    assert torch.equal(predict_labels(logits, size), plain[0].to(torch.uint8))


def test_ties_go_to_the_first_class_and_half_precision_is_read():
    assert torch.equal(predict_labels(torch.zeros(1, 4, 3, 3), (7, 7)), torch.zeros(7, 7).byte())
    logits = torch.eye(3).view(1, 3, 3, 1).expand(1, 3, 3, 2).bfloat16()
    assert predict_labels(logits, (3, 2)).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_counts_equal_a_slow_loop(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(0, 4, (11, 13), generator=generator).to(torch.uint8)
    label[label == 3] = IGNORE
    prediction = torch.randint(0, 3, (11, 13), generator=generator).to(torch.uint8)
    slow = torch.zeros(3, 3, dtype=torch.int64)
    for truth, guess in zip(label.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth < 3:
            slow[truth, guess] += 1
    assert torch.equal(count_pixels(label, prediction, 3), slow)
    monkeypatch.setattr(evaluator, "EXACT", 10)
    assert torch.equal(count_pixels(label, prediction, 3), slow)


def test_counts_are_exact_beyond_float32():
    label = torch.zeros(1, 2**24 + 3, dtype=torch.uint8)
    assert count_pixels(label, label, 2).tolist() == [[2**24 + 3, 0], [0, 0]]


def images(number: int) -> list[ValidationSample]:
    """Coloured images; the truth is their colour, at twice their size, one row unlabelled."""
    made = []
    for index in range(number):
        colour = index % 3
        image = torch.zeros(3, 8, 12, dtype=torch.uint8)
        image[colour] = 200
        label = torch.full((16, 24), colour, dtype=torch.uint8)
        label[0] = IGNORE
        made.append(ValidationSample(f"image {index}", image, label))
    return made


def run(predictor: nn.Module, data: list, **changes: object):
    settings = {
        "protocol": protocol("common"),
        "label_space": COLOURS,
        "count": len(data),
        "device": CPU,
        "bfloat16": False,
    }
    return evaluate(predictor, data, **(settings | changes))


def test_evaluation_counts_every_labelled_pixel():
    scores, panels = run(Brightest(nn.Identity()), images(7))
    np.testing.assert_array_equal(scores.confusion, np.diag([3, 2, 2]) * 15 * 24)
    assert scores.miou == 1
    assert [panel.key for panel in panels] == ["image 0", "image 2", "image 4", "image 6"]


def test_further_sizes_are_looked_at_and_the_average_is_the_protocols():
    """The image is red and its second size green, twice as bright."""
    red, label = torch.zeros(3, 8, 12, dtype=torch.uint8), torch.ones(16, 24, dtype=torch.uint8)
    red[0] = 1
    data = [ValidationSample("one", red, label, (2 * red.flip(0).roll(-1, 0),))]
    chosen = protocol("common", "evaluation.scales=[1.0,2.0]", "evaluation.average=all")
    scores, (panel,) = run(Brightest(nn.Identity()), data, protocol=chosen, panels=1)
    np.testing.assert_array_equal(scores.confusion, np.diag([0, 16 * 24, 0]))
    assert scores.miou == pytest.approx(1 / 3)
    e = math.e
    np.testing.assert_allclose(panel.confidence, (1 / (2 + e) + e**2 / (2 + e**2)) / 2, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 60, 255])
def test_any_number_of_classes_is_counted_and_predicted(size):
    """Every cell of the logits is of another class, and every pixel of the truth the next one."""
    numbers = torch.arange(size, dtype=torch.uint8)
    counts = count_pixels(numbers, numbers.roll(-1), size)
    expected = torch.eye(size, dtype=torch.int64).roll(1, dims=1)
    assert torch.equal(counts, expected)
    assert not count_pixels(torch.full_like(numbers, IGNORE), numbers, size).any()

    class Diagonal(Brightest):
        def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
            return torch.eye(size)[None, :, None]

    data = [ValidationSample("one", torch.zeros(3, 1, size, dtype=torch.uint8), numbers[None])]
    scores, (panel,) = run(Diagonal(nn.Identity()), data, label_space=numbered(size), panels=1)
    assert scores.miou == 1 and scores.classes_scored == size
    np.testing.assert_array_equal(panel.prediction, numbers[None].numpy())


def test_labels_that_show_nothing_are_an_error():
    data = [one._replace(label=torch.full_like(one.label, IGNORE)) for one in images(2)]
    with pytest.raises(UserError, match=r"none of the 2 labels .* of made; .*dataset.classes"):
        run(Brightest(nn.Identity()), data)


def test_panels_share_the_size_of_the_network_input():
    data = images(2)
    _, (panel, _) = run(Brightest(nn.Identity()), data, panels=4)
    assert panel.image.shape == (8, 12, 3) and panel.image.dtype == np.uint8
    np.testing.assert_array_equal(panel.image[0, 0], [200, 0, 0])
    np.testing.assert_array_equal(panel.truth[:, 0], [IGNORE, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(panel.prediction, np.zeros((8, 12)))
    np.testing.assert_allclose(panel.confidence, 1 / (1 + 2 * math.exp(-200)))
    assert panel.confidence.dtype == np.float32


def test_evaluation_leaves_modes_statistics_and_random_state_alone():
    segmenter = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    method = Brightest(segmenter).train()
    segmenter[0].eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    state = torch.random.get_rng_state()

    class Drawing(list):
        def __iter__(self):
            torch.rand(3)
            return super().__iter__()

    run(method, Drawing(images(2)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in method.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_modes_come_back_after_an_error():
    method = Brightest(nn.Identity()).train()
    with pytest.raises(UserError, match="predicts 3 classes and made has 2"):
        run(method, images(1), label_space=space("red", "green"))
    assert method.training


@pytest.mark.gpu
def test_the_gpu_gives_the_same_scores():
    scores, _ = run(Brightest(nn.Identity()).cuda(), images(7), device=torch.device("cuda"))
    np.testing.assert_array_equal(scores.confusion, np.diag([3, 2, 2]) * 15 * 24)
