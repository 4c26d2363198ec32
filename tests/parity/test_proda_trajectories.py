"""Four steps of each of ProDA's stages, through the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.parity.closeness import close
from tests.parity.official_networks import drawn, load, small
from tests.parity.test_augment import OFFICIAL_IGNORE, strong_view
from tests.parity.trajectories import Player, runs, state, take_step, trainer_of
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.base import Method
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.methods.proda import ProDA
from uda_hydra.methods.proda_distil import ProDADistil
from uda_hydra.models.batch_norm import StillBatchNorm
from uda_hydra.types import IGNORE, Crop, Mirror, Resize, Source, Target, View, upsample

WARM_UPS = ["traj_warmup", "traj_warmup_norepeat", "traj_warmup_bn_train_vanilla"]
DENOISING = ["traj_stage1", "traj_stage1_plain"]
DISTILLATIONS = ["traj_stage2", "traj_stage2_official", "traj_stage2_norepeat"]
TOLERANCE = {"loss_adv": 2e-3, "loss_kd": 2e-3, "loss_consist": 2e-3}


def inputs_of(group, case) -> dict[str, Tensor]:
    return group[case.args.get("inputs_from", case.name)].inputs


def segmenter(inputs, args, *, teacher: bool = False, **options) -> Player:
    """The small network with the case's weights."""
    suffix = "_teacher" if teacher else ""
    weights = drawn(
        inputs[f"keys{suffix}"],
        inputs[f"shapes{suffix}"],
        args["salt_teacher" if teacher else "salt"],
    )
    norm = any(key.startswith("bn_pretrain") for key in weights)
    network = small("proda_bnclr" if norm else "proda", args["n_class"], **options)
    return Player(network, load(network, weights, "proda"))


def trainer(case, method: Method, folder: Path, weights: dict[str, float], *more: str) -> Trainer:
    args = case.args
    options = {
        "lr": args["lr"],
        "horizon": args["train_iters"],
        "momentum": args["momentum"],
        "weight_decay": args["weight_decay"],
        "backbone_repeats": bool(args.get("backbone_repeats", 0)),
        "accumulate_decay": False,
    }
    overrides = [f"optimizer.{key}={value}" for key, value in options.items()]
    return trainer_of(method, folder, *overrides, *more, weights=weights)


def batches(inputs, case, precision: torch.dtype):
    """Our source batch, and the other inputs, of each iteration."""
    for number in case.args["batch_of_iteration"].tolist():
        one = {key: value[number] for key, value in inputs.items() if isinstance(value, Tensor)}
        one = {k: v.to(precision) if v.dtype == torch.float32 else v for k, v in one.items()}
        label = one["label"].where(one["label"] != OFFICIAL_IGNORE, IGNORE)
        yield Source(one["source"], label), one


def size_of(image: Tensor) -> tuple[int, int]:
    return image.shape[-1], image.shape[-2]


def strong_views(one, image: Tensor) -> tuple[View, ...]:
    return tuple(strong_view(one, i, size_of(image)) for i in range(len(image)))


def assert_losses(case, step: int, found: dict[str, Tensor | float]) -> None:
    for key, value in found.items():
        close(value, case.out[key][step], rtol=TOLERANCE.get(key, 5e-4), atol=1e-6)


def assert_state(out, who: str, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Norm, mean and change of every tensor that the reference lists for one network."""
    names = out[f"{'student' if who == 'ema' else who}_names"]
    assert names
    for i, name in enumerate(names):
        end, change = after[name], after[name] - before[name]
        close(end.norm(), out[f"{who}_norm64"][i], rtol=1e-4, atol=1e-5)
        close(end.mean(), out[f"{who}_mean64"][i], rtol=1e-3, atol=2e-5)
        rtol = 0.2 if who == "ema" else 2e-2
        close(change.norm(), out[f"{who}_delta_norm64"][i], rtol=rtol, atol=2e-5)
        if who != "ema":
            close(change.mean(), out[f"{who}_delta_mean64"][i], rtol=3e-2, atol=2e-5)


@pytest.mark.parametrize(("name", "precision"), runs(WARM_UPS, WARM_UPS[:1]))
def test_warm_up(reference, tmp_path, name, precision):
    group = reference("proda")
    case = group[name]
    args, inputs = case.args, inputs_of(group, case)
    norm = "frozen" if args["freeze_bn"] else "trained"
    players = {"G": segmenter(inputs, args, batch_norm=norm)}
    frozen = [m for m in players["G"].network.modules() if isinstance(m, StillBatchNorm)]
    assert bool(frozen) == bool(args["freeze_bn"])
    method = OutputAdversarial(
        players["G"].network,
        view="probability",
        gan=args["gan"].lower(),
        discriminator="fc3x3",
        discriminator_target_label=1,
        discriminator_width=int(inputs["shapes_D"][0].split(",")[0]),
    )
    discriminator = method.discriminators["main"]
    weights = drawn(inputs["keys_D"], inputs["shapes_D"], args["salt"])
    players["D"] = Player(discriminator, load(discriminator, weights, "disc_proda_fc"))
    lambdas = dict.fromkeys(method.terms, 1.0) | {"adv": args["adv"]}
    taught = trainer(
        case, method.to(precision), tmp_path, lambdas, f"optimizer.discriminator_lr={args['lr_D']}"
    )
    before = {who: state({"": player}) for who, player in players.items()}
    for step, (source, one) in enumerate(batches(inputs, case, precision)):
        values = take_step(taught, step, source, Target(one["target"]))
        found = {
            "loss_src": values["loss/seg"],
            "loss_adv": args["adv"] * values["loss/adv"],
            "loss_D": values["loss/disc_source"] + values["loss/disc_target"],
        }
        assert_losses(case, step, found)
    for who, player in players.items():
        assert_state(case.out, who, before[who], state({"": player}))


def weak_views(one) -> tuple[View, ...]:
    size = size_of(one["target_full"])
    views = []
    for (height, width), (y1, y2, x1, x2), flip in zip(
        one["resized_hw"].tolist(),
        one["crop_y1y2x1x2"].tolist(),
        one["flip"].tolist(),
        strict=True,
    ):
        mirror = (Mirror(),) if flip else ()
        views.append(View(size, (Resize(width, height), Crop(x1, y1, x2 - x1, y2 - y1), *mirror)))
    return tuple(views)


def labels_of(method: ProDA) -> list[Tensor]:
    """The rectified labels of every step, as they are made."""
    kept, made = [], method.label

    def keep(*arguments):
        kept.append(made(*arguments))
        return kept[-1]

    method.label = keep
    return kept


@pytest.mark.parametrize(("name", "precision"), runs(DENOISING, DENOISING[:1]))
def test_denoising(reference, tmp_path, name, precision):
    group = reference("proda")
    case = group[name]
    args, inputs = case.args, inputs_of(group, case)
    plain = name.endswith("plain")
    student = segmenter(inputs, args)
    method = ProDA(
        student.network,
        rectify=True,
        min_confidence=args["train_thred"],
        hard_threshold=None,
        released_shift=False,
        structure=args["proto_consistW"] > 0,
        regularizer="mrkld",
        prototypes=None,
        prototype_temperature=args["proto_temperature"],
        prototype_momentum=args["proto_momentum"],
        prototype_passes=4,
        count_cap=3000,
        min_pixels=10,
        ema_momentum=args["ema_decay"],
        teacher_eval=False,
        teacher_dropout=True,
    ).to(precision)
    method.prototypes.begin(inputs["prototypes"])
    lambdas = {
        "seg": 1.0,
        "seg_aux": 0.0,
        "ce": 1.0 if plain else args["rce_alpha"],
        "rce": 0.0 if plain else args["rce_beta"],
        "reg": args["regular_w"],
        "structure": args["proto_consistW"],
    }
    taught = trainer(case, method, tmp_path, lambdas, "optimizer.head_lr_factor=1")
    teacher = Player(method.teacher.network, student.names)
    before = state({"": student})
    labels = labels_of(method)
    for step, (source, one) in enumerate(batches(inputs, case, precision)):
        height, width = one["target"].shape[-2:]
        crop = torch.stack([upsample(soft[None], (height, width))[0] for soft in one["soft_low"]])
        target = Target(
            one["target"],
            view=weak_views(one),
            strong=one["target_strong"],
            strong_view=strong_views(one, one["target_strong"]),
            whole=one["target_full"],
            stored={"labels": upsample(crop, (height // 4, width // 4))},
        )
        values = {
            k.removeprefix("loss/"): v for k, v in take_step(taught, step, source, target).items()
        }
        cts = sum(lambdas[key] * values[key] for key in ("ce", "rce", "reg"))
        structure = values.get("structure", torch.zeros(()))
        found = {"loss_src": values["seg"], "loss_ce": values["ce"], "loss_cts": cts}
        found |= {"loss_consist": structure}
        found |= {"loss_total": cts + lambdas["structure"] * structure}
        if not plain:
            found |= {"loss_rce": values["rce"], "loss_reg": values["reg"]}
        assert_losses(case, step, found)
        if "rectified_label" in case.out:
            official = case.out["rectified_label"][step]
            wrong = labels[step] != official.where(official != OFFICIAL_IGNORE, IGNORE)
            assert wrong.double().mean() <= 3e-3
    close(method.prototypes.vectors, case.out["prototypes"], rtol=1e-4, atol=1e-4)
    assert_state(case.out, "student", before, state({"": student}))
    assert_state(case.out, "ema", before, state({"": teacher}))


@pytest.mark.parametrize(("name", "precision"), runs(DISTILLATIONS, DISTILLATIONS[:1]))
def test_distillation(reference, tmp_path, name, precision):
    group = reference("proda")
    case = group[name]
    args, inputs = case.args, inputs_of(group, case)
    student = segmenter(inputs, args)
    method = ProDADistil(
        student.network,
        teacher=None,
        threshold=None,
        mirrored_look=True,
        kd_student=args["kd_student"],
        released_shift=False,
    )
    teacher = segmenter(inputs, args, teacher=True).network
    method.teacher.network = teacher.requires_grad_(False).eval()
    lambdas = {"seg": 1.0, "seg_aux": 0.0, "ce": 1.0, "rce": 0.0, "kd": args["distillation"]}
    taught = trainer(case, method.to(precision), tmp_path, lambdas)
    before = state({"": student})
    for step, (source, one) in enumerate(batches(inputs, case, precision)):
        strong, label = one["target_strong"], one["pseudo"][:, ::4, ::4]
        target = Target(
            strong,
            strong=strong,
            strong_view=strong_views(one, strong),
            stored={"labels": label.where(label != OFFICIAL_IGNORE, IGNORE)},
        )
        values = take_step(taught, step, source, target)
        ce, kd = values["loss/ce"], values["loss/kd"]
        found = {"loss_src": values["loss/seg"], "loss_ce": ce, "loss_kd": kd}
        found |= {"loss_total": ce + lambdas["kd"] * kd}
        assert_losses(case, step, found)
    assert_state(case.out, "student", before, state({"": student}))


def test_every_training_is_compared(reference):
    assert {*reference("proda").names("traj_")} == {*WARM_UPS, *DENOISING, *DISTILLATIONS}
