"""Prototypes, losses and memory bank of ProCA, SDCA and FADA against the official numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import uda_hydra.losses as L
from tests.parity.closeness import close
from uda_hydra.engine.schedule import rate_factor
from uda_hydra.memory import Gaussians, PixelBank, Prototypes, sample_anchors
from uda_hydra.memory.cells import Anchors
from uda_hydra.memory.pixel_bank import normalize_slots
from uda_hydra.types import shrink_label


def cells(rows: Tensor) -> Tensor:
    """Rows (n, d) as one row of cells (1, d, 1, n)."""
    return rows.T[None, :, None]


def differentiable(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def compare(loss: Tensor, of: Tensor, case, name: str, *, atol: float = 1e-8) -> None:
    """The loss, and its gradient by ``of``."""
    close(loss.detach(), case.out["loss"], rtol=1e-4)
    (gradient,) = torch.autograd.grad(loss, of)
    close(gradient, case.out[f"grad_{name}"], rtol=1e-4, atol=atol)


def test_rates(reference):
    case = reference("proca")["poly_lr"]
    a, steps = case.args, case.inputs["iters"].tolist()
    rates = [
        a["base_lr"]
        * rate_factor(
            step,
            horizon=a["max_iter"],
            power=a["power"],
            warmup_steps=0,
            warmup_start=1.0,
            warmup_decays=True,
        )
        for step in steps
    ]
    close(rates, case.out["lr_feature"], rtol=1e-9, atol=0)
    close([10 * rate for rate in rates], case.out["lr_classifier"], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "name", ["proto_cumulative", "proto_resume", "proto_all_ignored", "proto_momentum"]
)
def test_prototypes(reference, name):
    case = reference("proca")[name]
    features, labels = case.inputs["features"], case.inputs["labels"]
    table = Prototypes(
        case.args["num_classes"], features.shape[-1], momentum=case.args.get("momentum")
    )
    if "proto0" in case.inputs:
        table.mean.copy_(case.inputs["proto0"])
        table.count.copy_(case.inputs["amount0"])
    for step, (rows, label) in enumerate(zip(features, labels, strict=True)):
        table.update(cells(rows), label[None, None])
        close(table.mean, case.out["proto"][step], rtol=1e-4, atol=1e-5)
        if name != "proto_momentum":
            assert table.count.equal(case.out["amount"][step].double())
    if name == "proto_momentum":
        assert table.count.equal(case.out["amount"].double())


@pytest.mark.parametrize(
    "name",
    ["pcl_tau50", "pcl_tau_small", "pcl_zero_proto", "pcl_output_level", "pcl_all_ignored"],
)
def test_prototype_contrast(reference, name):
    case = reference("proca")[name]
    feat = differentiable(case.inputs["feat"])
    loss = L.prototype_contrast(
        cells(feat),
        case.inputs["labels"][None, None],
        case.inputs["proto"],
        temperature=case.args["tau"],
    )
    compare(loss, feat, case, "feat")


def test_masks(reference):
    group = reference("proca")
    case = group["target_mask"]
    mask = L.own_label(case.inputs["logits"], case.args["delta"], on="logit")
    assert mask.equal(case.out["mask"])
    case = group["source_mask"]
    size = case.args["h"], case.args["w"]
    assert shrink_label(case.inputs["labels"], size).equal(case.out["mask"])


@pytest.mark.parametrize(
    "name", ["lovasz", "lovasz_saturated", "lovasz_all_ignored", "lovasz_one_pixel"]
)
def test_lovasz(reference, name):
    case = reference("proca")[name]
    logits = differentiable(case.inputs["logits"])
    loss = L.lovasz_softmax(logits, case.inputs["labels"])
    compare(loss, logits, case, "logits", atol=1e-7)


@pytest.mark.parametrize("name", ["sup_loss", "sup_loss_all_ignored"])
def test_supervised(reference, name):
    case = reference("proca")[name]
    logits, label = differentiable(case.inputs["logits"]), case.inputs["labels"]
    entropy, lovasz = L.segmentation(logits, label), L.lovasz_softmax(logits, label)
    close(entropy.detach(), case.out["loss_ce"], rtol=1e-4)
    close(lovasz.detach(), case.out["loss_lov"], rtol=1e-4)
    total = entropy + case.args["lambda_lov"] * lovasz
    compare(total, logits, case, "logits", atol=1e-7)


FORMS = ("official", "fixed")
forms = pytest.mark.parametrize("form", FORMS)


@forms
def test_first_queues(reference, form):
    case = reference("proca")[f"mb_init_{form}"]
    for queue in ("pixel", "proto"):
        found = normalize_slots(case.inputs[f"{queue}_raw"], official=form == "official")
        close(found, case.out[f"{queue}_queue"], rtol=1e-4)


def bank_of(mean: Tensor, pixel: Tensor, form: str, pixels: int) -> PixelBank:
    bank = PixelBank(*pixel.shape, pixels=pixels, official=form == "official")
    bank.mean.copy_(mean)
    bank.pixel.copy_(pixel)
    return bank


@forms
def test_bank_update(reference, form):
    case = reference("proca")[f"mb_update_{form}"]
    ins, out = case.inputs, case.out
    bank = bank_of(ins["proto_queue0"], ins["pixel_queue0"], form, case.args["pixel_update_freq"])
    for step, (rows, label) in enumerate(zip(ins["features"], ins["labels"], strict=True)):
        bank.update(cells(rows), label[None, None], torch.arange)
        assert bank.mean_place.equal(out["proto_ptr"][step])
        assert bank.pixel_place.equal(out["pixel_ptr"][step])
        if step == 1:
            close(bank.mean, out["proto_queue_step2"], rtol=1e-4)
            close(bank.pixel, out["pixel_queue_step2"], rtol=1e-4)
    close(bank.mean, out["proto_queue"], rtol=1e-4)
    close(bank.pixel, out["pixel_queue"], rtol=1e-4)


def test_anchors(reference):
    case = reference("proca")["mb_anchor_sampling"]
    ins, labels = case.inputs, case.out["anchor_labels"].long()
    shown = torch.cat([ins["labels"].flatten(), ins["predict"].flatten()])
    found = sample_anchors(
        ins["feats"],
        ins["labels"],
        ins["predict"],
        num_classes=1 + int(shown[shown != case.args["ignore"]].max()),
        min_samples=case.args["min_samples"],
        max_samples=case.args["max_samples"],
        permute=torch.arange,
    )
    assert found.valid.any(dim=1).nonzero()[:, 0].equal(labels)
    views = case.out["anchors"].shape[1]
    assert found.valid[labels].sum(dim=1).eq(views).all()
    assert found.embedding[labels, :views].equal(case.out["anchors"])


@pytest.mark.parametrize("name", [f"mb_contrast_{f}{t}" for f in FORMS for t in ("", "_t05")])
def test_bank_contrast(reference, name):
    case = reference("proca")[name]
    ins, anchors = case.inputs, differentiable(case.inputs["anchors"])
    classes, shown = len(ins["proto_queue"]), ins["anchor_labels"].long()
    rows = torch.zeros(classes, *anchors.shape[1:]).index_copy(0, shown, anchors)
    valid = torch.zeros(classes, anchors.shape[1], dtype=torch.bool)
    valid[shown] = True
    loss = L.bank_contrast(
        *Anchors(rows, valid),
        ins["proto_queue"],
        ins["pixel_queue"],
        temperature=case.args["temperature"],
        official="official" in name,
    )
    compare(loss, anchors, case, "anchors", atol=1e-6)


@pytest.mark.parametrize("name", ["mb_loss_official", "mb_loss_fixed", "mb_loss_no_class"])
def test_whole_bank_loss(reference, name):
    case = reference("proca")[name]
    ins, feats = case.inputs, differentiable(case.inputs["feats"])
    anchors = sample_anchors(
        feats,
        shrink_label(ins["labels"], feats.shape[-2:]),
        ins["predict"],
        num_classes=len(ins["proto_queue"]),
        min_samples=case.args["min_samples"],
        max_samples=case.args["max_samples"],
        permute=torch.arange,
    )
    official = "official" in name
    loss = L.bank_contrast(
        *anchors,
        ins["proto_queue"],
        ins["pixel_queue"],
        temperature=case.args["temperature"],
        official=official,
    )
    compare(loss / len(feats) if official else loss, feats, case, "feats", atol=1e-6)


def test_gaussians(reference):
    case = reference("proca")["sdca_estimator"]
    features, labels = case.inputs["features"], case.inputs["labels"]
    table = Gaussians(case.args["num_classes"], features.shape[-1])
    for step, (rows, label) in enumerate(zip(features, labels, strict=True)):
        table.update(cells(rows), label[None, None])
        close(table.mean, case.out["mean"][step], rtol=1e-4, atol=1e-5)
        close(table.variance, case.out["variance"][step], rtol=1e-4, atol=1e-5)
        assert table.count.equal(case.out["amount"][step].double())


def test_gaussian_contrast(reference):
    case = reference("proca")["sdca_loss"]
    ins, feat = case.inputs, differentiable(case.inputs["feat"])
    loss = L.gaussian_contrast(
        cells(feat),
        ins["labels"][None, None],
        ins["mean"],
        ins["variance"],
        temperature=case.args["tau"],
    )
    compare(loss, feat, case, "feat")


def test_class_knowledge(reference):
    case = reference("proca")["fada_soft_target"]
    a = case.args
    found = L.class_knowledge(case.inputs["logits"], temperature=a["temperature"], clip=a["clip"])
    close(found, case.out["soft_label"], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("fada_d_source", L.SOURCE),
        ("fada_d_target", L.TARGET),
        ("fada_adv", L.SOURCE),
        ("fada_weighted", L.SOURCE),
    ],
)
def test_fine_grained(reference, name, domain):
    case = reference("proca")[name]
    ins, scores = case.inputs, differentiable(case.inputs["d_logits"])
    loss = L.fine_grained(scores, ins["soft_label"], domain, ins.get("pixel_weights"))
    compare(case.args.get("weight", 1.0) * loss, scores, case, "d_logits", atol=1e-9)
