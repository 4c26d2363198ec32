"""Label-free scores by hand and by loop; they need no target label and cost little."""

from __future__ import annotations

import math
import shutil
from operator import mul

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import SMALL, composed, protocol
from tests.engine.test_evaluator import CPU, Brightest, images, run
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.samples import ResizedImages
from uda_hydra.engine.events import Callback, Run
from uda_hydra.engine.label_free import (
    DIRECTIONS,
    SAMPLES,
    LabelFree,
    choose_pixels,
    logits_at,
    single_look,
    soft_neighbourhood_density,
)
from uda_hydra.engine.protocols import Look, look
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_objective
from uda_hydra.types import upsample


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_density(probability: torch.Tensor) -> float:
    """Row by row, in Python's own numbers."""
    rows = [[p / math.hypot(*row) for p in row] for row in probability.tolist()]
    total = 0.0
    for i, row in enumerate(rows):
        products = [sum(map(mul, row, other)) for j, other in enumerate(rows) if j != i]
        weights = [math.exp(product / 0.05) for product in products]
        shares = [weight / sum(weights) for weight in weights]
        total -= sum(share * math.log(share) for share in shares)
    return total / len(rows)


def test_density_equals_a_slow_loop():
    probability = (3 * some(7, 4).double()).softmax(dim=1)
    found = soft_neighbourhood_density(probability).item()
    assert found == pytest.approx(slow_density(probability), rel=1e-12)


def test_density_by_hand():
    # Everyone is equally near: the neighbours are uniform over the five others.
    alike = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    assert soft_neighbourhood_density(alike).item() == pytest.approx(math.log(5))
    # Two classes of three: each has two neighbours, and the others are e^-20 away.
    apart = torch.eye(2, dtype=torch.float64).repeat(3, 1)
    assert soft_neighbourhood_density(apart).item() == pytest.approx(math.log(2), abs=1e-6)
    # Two samples: the only neighbour is certain.
    assert soft_neighbourhood_density(torch.eye(2)).item() == 0


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 10.0, 1000.0])
def test_density_stays_within_its_bounds(sharpness):
    probability = (sharpness * some(50, 19)).softmax(dim=1)
    assert 0 <= soft_neighbourhood_density(probability).item() <= math.log(49) + 1e-6


@pytest.mark.parametrize("size", [(13, 17), (5, 6), (1, 9)])
def test_values_at_pixels_equal_those_of_the_enlarged_map(size):
    seen = Look(some(1, 4, 5, 6).double(), size)
    pixels = np.arange(math.prod(size))
    whole = upsample(seen.logits, size)[0].flatten(1).T
    torch.testing.assert_close(logits_at(seen, pixels), whole, rtol=1e-12, atol=1e-12)


def test_the_pixels_are_different_and_a_function_of_the_image():
    first = choose_pixels(0, 10_000)
    assert len(set(first.tolist())) == SAMPLES and first.min() >= 0 and first.max() < 10_000
    np.testing.assert_array_equal(first, choose_pixels(0, 10_000))
    assert not np.array_equal(first, choose_pixels(1, 10_000))
    assert sorted(choose_pixels(3, 20)) == [*range(20)]


def test_means_over_images_by_hand():
    """One image is undecided everywhere, one has two certain halves."""
    certain = torch.full((1, 2, 1, 2), -1000.0)
    certain[0, 0, 0, 0] = certain[0, 1, 0, 1] = 1000.0
    seen = LabelFree(CPU)
    seen.add(0, Look(torch.zeros(1, 2, 1, 2), (2, 2)))
    seen.add(1, Look(certain, (2, 2)))
    means = seen.means()
    assert means["entropy/target"] == pytest.approx(1 / 2)
    # Four pixels: ln 3 where all are alike, 0 where each has one neighbour in its half.
    assert means["snd/target"] == pytest.approx(math.log(3) / 2, abs=1e-6)
    assert means.keys() | {"miou/source_val"} == DIRECTIONS.keys()


def scores_of(data: list) -> dict[str, float]:
    seen = LabelFree(CPU)
    run(Brightest(nn.Identity()), data, label_free=seen)
    return seen.means()


def test_labels_and_global_random_numbers_do_not_enter():
    data = images(5)
    torch.manual_seed(1)
    known = scores_of(data)
    torch.manual_seed(2)
    assert scores_of([one._replace(label=torch.zeros_like(one.label)) for one in data]) == (known)


def test_the_targets_scores_need_no_label_file(make_trainer, tmp_path):
    trainer = make_trainer("method=source_only")
    trainer.evaluate()
    truth = trainer.pair.validation.truth
    shutil.copytree(truth.root / "leftImg8bit", tmp_path / "bare" / "leftImg8bit")
    bare = cityscapes(tmp_path / "bare", label_space=CITYSCAPES19, split="val", labelled=False)
    samples = ResizedImages(bare, trainer.pair.validation.images.size)
    seen = LabelFree(CPU)
    trainer.method.eval()
    with torch.inference_mode():
        for index in range(len(bare)):
            image = [samples.image(index)]
            seen.add(
                index, look(trainer.method, image, trainer.protocol, device=CPU, bfloat16=False)[0]
            )
    found = {name: trainer.label_free[name] for name in ("entropy/target", "snd/target")}
    assert seen.means() == found


def test_the_source_is_looked_at_once_at_its_own_size():
    found = single_look(protocol("proca"))
    assert (found.size, found.scales, found.mirror) == (None, [1.0], False)
    assert (found.rescale, found.labels, found.average) == ("image", "full", "all")


def test_source_score_is_the_miou_of_the_held_out_images(make_trainer):
    trainer = make_trainer("method=source_only")
    trainer.evaluate()
    held_out = trainer.pair.source_validation
    with torch.inference_mode():
        trainer.method.eval()
        confusion = torch.zeros(19, 19)
        for one in held_out.stream(workers=0):
            logits = trainer.method.predict(trainer.method.normalization(one.image[None]))
            guess = upsample(logits, tuple(one.label.shape)).argmax(dim=1)[0]
            pixels = zip(one.label.flatten().tolist(), guess.flatten().tolist(), strict=True)
            for truth, other in pixels:
                if truth < 19:
                    confusion[truth, other] += 1
    hits = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hits
    expected = (hits / union)[confusion.sum(1) > 0].mean().item()
    assert trainer.label_free["miou/source_val"] == pytest.approx(expected, rel=1e-5)


def test_scores_reach_callbacks_and_survive_a_resume(make_trainer, tmp_path):
    scores = []

    class Ears(Callback):
        def on_evaluate(self, evaluation):
            scores.append(dict(evaluation.label_free))

    whole = make_trainer("method=source_only", "trainer.steps=2", callbacks=[Ears()])
    whole.restore()
    whole.fit(Run("test", tmp_path, steps=2, start=0, config={}))
    again = make_trainer("method=source_only", "trainer.steps=2")
    again.restore()
    assert again.label_free == scores[-1] == whole.label_free
    assert again.label_free.keys() == DIRECTIONS.keys()
    # A checkpoint of an earlier version holds no such scores.
    state = torch.load(whole.checkpoints.last, weights_only=True)
    del state["label_free"]
    whole.checkpoints.save(state)
    old = make_trainer("method=source_only", "trainer.steps=2")
    old.restore()
    assert old.done == 2 and old.label_free == {}


def small(*overrides: str):
    return composed(*SMALL, *overrides)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_score_may_be_the_objective(name):
    check_objective(small(f"objective={name}"))


@pytest.mark.parametrize("change", ["dataset.source.validation=null", "dataset.oracle=true"])
def test_the_source_score_is_no_objective_without_held_out_images(change):
    with pytest.raises(UserError, match=r"dataset.source.validation"):
        check_objective(small("objective=miou/source_val", change))


def test_without_held_out_images_the_source_score_is_left_out(make_trainer):
    trainer = make_trainer("method=source_only", "dataset.source.validation=null")
    trainer.evaluate()
    assert trainer.label_free.keys() == {"entropy/target", "snd/target"}
