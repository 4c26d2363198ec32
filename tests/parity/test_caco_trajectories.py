"""Four steps of the official source-only and first-stage training, through the Trainer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fill import fill_tensor
from torch import Tensor
from torch.testing import assert_close

import uda_hydra.losses as L
from uda_hydra.data.pair import Pair
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.base import Method
from uda_hydra.methods.caco import CaCo, scaled_size
from uda_hydra.methods.source_only import SourceOnly
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.settings import OptimizerSettings, TrainerSettings
from uda_hydra.types import Source, Target

PRECISIONS = (torch.float32, torch.float64)


def close(actual: object, expected: object, *, rtol: float, atol: float = 1e-6) -> None:
    pair = (torch.as_tensor(x, dtype=torch.float64) for x in (actual, expected))
    assert_close(*pair, rtol=rtol, atol=atol)


def ours(key: str) -> str:
    """Our name of an official state-dict entry."""
    key, heads = re.subn(r"^layer([56])\.conv2d_list", r"layer\1.branches", key)
    if not heads:
        return f"backbone.{key}"
    return key.replace("layer5", "aux_head").replace("layer6", "main_head")


def initial_weights(case) -> dict[str, Tensor]:
    """By official name: the FILL rule, with both heads amplified."""
    weights = {}
    for key, text in zip(case.inputs["keys"], case.inputs["shapes"], strict=True):
        shape = tuple(int(side) for side in re.findall(r"\d+", text))
        weights[key] = fill_tensor(key, shape, case.args["salt"])
        if key.startswith(("layer5", "layer6")):
            weights[key] *= case.args["head_gain"]
    return weights


def network(case, weights: dict[str, Tensor]) -> Segmenter:
    blocks = [
        len({key.split(".")[1] for key in weights if key.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    ]
    segmenter = deeplabv2(num_classes=case.args["num_classes"], blocks=blocks)
    segmenter.load_state_dict({ours(key): value for key, value in weights.items()})
    return segmenter


def trainer_of(
    method: Method, case, folder: Path, *, weights: dict[str, float], repeats: bool = False
) -> Trainer:
    optimizer = OptimizerSettings(
        lr=case.args["lr"],
        head_lr_factor=10.0,
        momentum=0.9,
        weight_decay=5e-4,
        nesterov=False,
        adversary_lr=1e-4,
        adversary_betas=[0.9, 0.99],
        power=0.9,
        horizon=case.args["max_iters"],
        backbone_repeats=repeats,
        accumulate_decay=repeats,
    )
    settings = TrainerSettings(
        steps=len(case.inputs["source_image"]),
        batch_size=1,
        evaluate_every=1000,
        save_every=1000,
        log_every=1000,
        device="cpu",
        precision="fp32",
        workers=0,
    )
    return Trainer(
        method,
        object.__new__(Pair),  # never read: the steps are fed by hand
        settings=settings,
        optimizer=optimizer,
        weights=weights,
        normalization=method.segmenter.normalization,
        seed=0,
        device=torch.device("cpu"),
        bfloat16=False,
        folder=folder,
    )


def seed_where(holds: Callable[[], bool]) -> None:
    """Seed the global generator so that its next draws are the recorded ones."""
    for seed in range(10_000):
        torch.manual_seed(seed)
        if holds():
            torch.manual_seed(seed)
            return
    raise AssertionError("no seed draws what the reference drew")


def batch(case, step: int, precision: torch.dtype) -> tuple[Source, Target]:
    """The step's images, normalised already; a source-only case shows its source twice."""
    images = [
        case.inputs[f"{domain}_image"][step].to(precision)
        for domain in ("source", "target" if "target_image" in case.inputs else "source")
    ]
    label = case.inputs["source_label"][step].long()
    return Source(images[0], label), Target(images[1])


def assert_state(
    out: dict[str, Tensor], who: str, before: dict[str, Tensor], after: dict[str, Tensor]
) -> None:
    """Norm, mean and change of every tensor that the reference lists for one network."""
    slack = 2e-2 if who == "ema" else 5e-3
    for i, key in enumerate(out[f"{who}_names"]):
        value = after[ours(key)].double()
        delta = (value - before[key]).flatten()
        n = delta.numel()
        norm, change = out[f"{who}_l2"][i], out[f"{who}_delta_l2"][i]
        close(value.norm(), norm, rtol=2e-4, atol=1e-5)
        close(value.mean(), out[f"{who}_mean"][i], rtol=2e-3, atol=5e-6)
        close(delta.norm(), change, rtol=slack, atol=1e-5)
        positions = torch.arange(8) * n // 8
        error = (delta[positions] - out[f"{who}_delta_samples"][i]).abs()
        bound = 0.05 * change / n**0.5 + 3e-7 + 0.002 * value.flatten()[positions].abs()
        assert (error <= bound).all(), key


@pytest.mark.parametrize("precision", PRECISIONS)
def test_source_only(reference, tmp_path, precision):
    case = reference("caco")["traj_source"]
    before = initial_weights(case)
    method = SourceOnly(network(case, before), channel_shuffle="official").to(precision)
    trainer = trainer_of(
        method, case, tmp_path, weights={"lambda_seg": 1.0, "lambda_seg_aux": 0.1}
    )
    for step, choice in enumerate(case.inputs["shuffle_choice"].tolist()):
        set_rates(trainer.optimizers.values(), rate(case, step))
        seed_where(lambda choice=choice: torch.randint(3, (1,)).item() == choice)

        values = trainer.step(*batch(case, step, precision), 0.0)

        close(values["loss/seg"], case.out["loss_seg_main"][step], rtol=3e-4)
        close(values["loss/seg_aux"], case.out["loss_seg_aux"][step], rtol=3e-4)
    assert_state(case.out, "student", before, method.segmenter.state_dict())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["traj_stage1", "traj_stage1_repeats"])
def test_first_stage(reference, tmp_path, monkeypatch, name, precision):
    case, out = reference("caco")["traj_stage1"], reference("caco")[name].out
    before = initial_weights(case)
    method = caco(case, before).to(precision)
    # What the gate does not let through, and what the teacher sees, is noted on the way.
    ungated = spy(monkeypatch, L, "category_contrast")
    labels = spy(monkeypatch, caco_module, "confident_label")
    weights = {term: 1.0 for term in ("seg", "consistency", "consistency_aux")}
    weights |= {"seg_aux": 0.1, "contrast": case.args["contrast_weight"]}
    trainer = trainer_of(
        method,
        case,
        tmp_path,
        weights={f"lambda_{term}": weight for term, weight in weights.items()},
        repeats=name.endswith("repeats"),
    )
    for step, size in enumerate(case.inputs["scaled_hw"].tolist()):
        source, target = batch(case, step, precision)
        set_rates(trainer.optimizers.values(), rate(case, step))
        seed_where(lambda: [*method.rescaled(target.image).shape[-2:]] == size)  # noqa: B023

        values = trainer.step(source, target, 0.0)
