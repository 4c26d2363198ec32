from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from uda_hydra.benchmark import confusion, evaluation, log_cost, sample, step, sweep, upsampling
from uda_hydra.benchmark.dictionary import SMALL, Problem
from uda_hydra.benchmark.literal import LiteralDictionary, literal_contrast
from uda_hydra.benchmark.timing import Disagreement, Setting, Times
from uda_hydra.types import IGNORE

CPU = torch.device("cpu")


@pytest.fixture
def quick(tmp_path):
    return Setting(CPU, threads=1, folder=tmp_path, quick=True)


# The literal formulation


def test_the_literal_dictionary_rolls_the_oldest_key_out():
    dictionary = LiteralDictionary(2, 2, 1)
    label = torch.tensor([[0, 0, IGNORE]])
    for value in (1.0, 3.0, 5.0):
        dictionary.push(torch.tensor([[[value, value + 2, 100]]]), label)
    assert dictionary.keys.tolist() == [[[4.0, 6.0], [0.0, 0.0]]]
    assert dictionary.category.tolist() == [[0, 0], [-1, -1]]
    assert dictionary.probability[:, 0].tolist() == [[1.0, 1.0], [0.0, 0.0]]

    keys, _, category = dictionary.read(CPU)
    assert keys.tolist() == [[4.0], [6.0], [0.0], [0.0]]
    assert category.tolist() == [0, 0, -1, -1]


def test_the_literal_dictionary_averages_probabilities():
    dictionary = LiteralDictionary(2, 1, 1)
    probability = torch.tensor([[[0.9, 0.7]], [[0.1, 0.3]]])
    dictionary.push(torch.zeros(1, 1, 2), torch.zeros(1, 2, dtype=torch.long), probability)
    assert dictionary.probability[:, 0, 0].tolist() == pytest.approx([0.8, 0.2])


def test_literal_contrast_by_hand():
    # One cell along its own key and across the other, both certain: 2 ln(1 + exp(-2)) / 2 keys.
    loss = literal_contrast(
        torch.tensor([3.0, 0.0]).view(2, 1, 1),
        torch.zeros(1, 1, dtype=torch.long),
        torch.tensor([[5.0, 0.0], [0.0, 7.0]]),
        torch.eye(2),
        torch.tensor([0, 1]),
        temperature=0.5,
        base_temperature=0.25,
        clamp=0.1,
    )
    assert loss.item() == pytest.approx(2 * math.log(1 + math.exp(-2)) / 2)


def test_literal_contrast_weighs_keys_by_their_certainty():
    # The cell lies between both keys; its own is certain (1.1), the other not at all (0.9).
    loss = literal_contrast(
        torch.ones(2, 1, 1),
        torch.zeros(1, 1, dtype=torch.long),
        torch.eye(2),
        torch.tensor([[1.0, 0.0], [0.5, 0.5]]),
        torch.tensor([0, 1]),
        temperature=1.0,
        base_temperature=1.0,
        clamp=0.1,
    )
    assert loss.item() == pytest.approx(-math.log(1.1 / 2.0) / 2)


def test_a_wrong_dictionary_or_loss_is_not_timed():
    problem = Problem(SMALL, CPU)
    problem.check()
    problem.literal.push(problem.source, problem.source_label)
    with pytest.raises(Disagreement, match="keys of the dictionary"):
        problem.check()

    problem = Problem(SMALL, CPU)
    problem.literal.probability.fill_(1 / 19)
    with pytest.raises(Disagreement, match="contrast loss"):
        problem.check()


# The plain ways, and that a wrong one is not timed


def test_histogram_by_hand():
    label = np.array([[0, 0, 1, 255]])
    prediction = np.array([[0, 18, 1, 2]])
    counts = np.zeros((19, 19), dtype=np.int64)
    counts[0, 0] = counts[0, 18] = counts[1, 1] = 1
    assert (confusion.histogram(label, prediction) == counts).all()


def test_upsampling_between_two_cells():
    logits = torch.zeros(1, 19, 1, 2)
    logits[0, 3] = torch.tensor([1.0, -1.0])
    logits[0, 5] = torch.tensor([-1.0, 1.0])
    assert upsampling.upsample_then_argmax(logits, (1, 4)).tolist() == [[3, 3, 5, 5]]


def test_the_released_evaluation_by_hand():
    logits = torch.zeros(1, 19, 1, 2)
    logits[0, 3] = torch.tensor([1.0, -1.0])
    logits[0, 5] = torch.tensor([-1.0, 1.0])
    label = np.array([[3, 5, 5, IGNORE]])
    found = evaluation.released(logits, label)
    assert found.nonzero().tolist() == [[3, 3], [5, 3], [5, 5]]
    assert found.sum() == 3


def test_the_logits_of_a_scene_find_most_of_it(quick):
    label, _ = confusion.scene(quick)
    found = evaluation.ours(evaluation.network_output(label, (9, 17)), label)
    assert found.trace() > 0.6 * found.sum()


def test_wrong_results_are_not_timed(quick, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(confusion, "histogram", lambda *maps: np.zeros((19, 19), dtype=np.int64))
        with pytest.raises(Disagreement, match="confusion matrix, scene"):
            confusion.compare(quick)
    with monkeypatch.context() as patch:
        zeros = torch.zeros(64, 128, dtype=torch.uint8)
        patch.setattr(upsampling, "predict_labels", lambda logits, size: zeros)
        with pytest.raises(Disagreement, match="labels"):
            upsampling.compare(quick)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "histogram", lambda *maps: np.zeros((19, 19), dtype=np.int64))
        with pytest.raises(Disagreement, match="evaluation, scene"):
            evaluation.compare(quick)
    with monkeypatch.context() as patch:
        patch.setattr(sample, "IDS", sample.IDS | {"road": (8,), "sidewalk": (7,)})
        with pytest.raises(Disagreement, match="label of the sample"):
            sample.compare(quick)
    with monkeypatch.context() as patch:
        patch.setitem(step.WEIGHTS, "lambda_contrast", 0.0)
        patch.setattr(step, "cross_entropy", lambda logits, label: logits.mean())
        with pytest.raises(Disagreement, match="loss/seg of a step"):
            step.compare(quick)


@pytest.mark.parametrize("silent", ["source", "second view"])
def test_each_bare_backward_pass_reaches_every_trained_parameter(quick, monkeypatch, silent):
    if silent == "source":
        monkeypatch.setattr(step, "WEIGHTS", dict.fromkeys(step.WEIGHTS, 0.0))
    else:
        monkeypatch.setattr(step, "GRADIENT", 0.0)
    pair = step.streets_pair(quick.folder, step.SMALLEST, height=64)
    trainer = step.caco_trainer(
        pair, step.SMALLEST, steps=1, device=CPU, folder=quick.folder / "step"
    )
    source, target = next(trainer.batches())
    step.bare_passes(trainer, source, target)
    assert all(p.grad.abs().sum() > 0 for p in trainer.players["segmenter"])


def test_a_closed_gate_is_noticed(quick, monkeypatch):
    monkeypatch.setattr(step, "fill_dictionary", lambda trainer: None)
    with pytest.raises(RuntimeError, match="contrast loss is off"):
        step.compare(quick)


# Logging


def test_the_time_between_the_marks_is_the_log_and_the_rest_the_step():
    before, after = [10.0, 20.0, 31.0, 45.0], [11.0, 20.5, 33.0, 45.25]
    times = log_cost.split(before, after, skip=1)
    # Of the steps 2 to 4 the first is skipped.
    assert times == Times(ours=[2.0, 0.25], plain=[10.5, 12.0])


# What a trial costs


@pytest.mark.slow
def test_both_sweepers_do_their_trials_and_ours_goes_on(quick):
    rows = sweep.compare(quick)
    assert [row.name for row in rows] == [
        "sweep: the first 3 trials",
        "sweep: the last 3 trials",
        "sweep: a tracked trial",
    ]
    assert all(0 < row.ours < 60 for row in rows)
    assert (quick.folder / "sweep_ours/outputs/studies").is_dir()
