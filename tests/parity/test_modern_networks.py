"""Heads, decoder and optimiser groups of DAFormer, HRDA and VFM-UDA against the official ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.conftest import composed
from tests.parity.closeness import close
from tests.parity.fusing import fusing_head, named, named_in_head
from tests.parity.official_networks import drawn, on_meta, renamed
from uda_hydra.config import settings
from uda_hydra.engine.optimizers import segmenter_groups
from uda_hydra.models.hrda import hrda_mix_transformer
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.models.timm_backbone import TimmBackbone
from uda_hydra.models.tokens import EnlargingHead


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("kind", ["daformer", "attention"])
def test_heads(reference, kind, mode):
    case = reference("modern")[f"head_{kind}_{mode}"]
    weights = drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])
    head, names = fusing_head(weights), {key: named_in_head(key) for key in weights}
    head.load_state_dict({names[key]: value for key, value in weights.items()})
    features = [case.inputs[f"feature{i}"] for i in range(4)]
    logits = head.train(mode == "train")(*features).logits
    stride = case.args["class_stride"]
    torch.testing.assert_close(logits[:, ::stride], case.out["logits"], rtol=1e-4, atol=2e-5)
    state = head.state_dict()
    for i, key in enumerate(case.out.get("bn_keys", ())):
        value = state[names[key]].double()
        close(value.norm(), case.out["bn_norm64"][i], rtol=1e-4)
        close(value.mean(), case.out["bn_mean64"][i], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "network", "layout", "norms"),
    [
        ("daformer", "daformer_mitb5", "daformer", "heads"),
        ("r101", "daformer_dlv2red_r101v1c", "daformer_dlv2", "all"),
    ],
)
def test_parameter_groups(reference, name, network, layout, norms):
    case = reference("modern")[f"param_groups_{name}"]
    rules = rules_of(on_meta(network, 19), case.args, norms)
    for i, official in enumerate(case.inputs["names"]):
        found = rules.pop(renamed(layout, official))
        assert found == (case.out["lr_factor"][i], case.out["weight_decay"][i]), official
    assert not rules


def test_parameter_groups_of_two_scales(reference):
    """Of the encoder the case lists only some."""
    case = reference("modern")["param_groups_hrda"]
    with torch.device("meta"):
        segmenter = hrda_mix_transformer(num_classes=19, window=[512, 512])
    rules = rules_of(segmenter, case.args, "heads")
    for i, official in enumerate(case.inputs["names"]):
        found = rules.pop(named(official))
        assert found == (case.out["lr_factor"][i], case.out["weight_decay"][i]), official
    assert all(name.startswith("backbone.") for name in rules)


def rules_of(segmenter: Segmenter, args: dict, norms: str) -> dict[str, tuple[float, float]]:
    """Factor of the rate and weight decay of every parameter."""
    names = {id(parameter): name for name, parameter in segmenter.named_parameters()}
    return {
        names[id(p)]: (group["initial_lr"], group.get("weight_decay", args["weight_decay"]))
        for group in segmenter_groups(segmenter, optimizer_of(args, norms))
        for p in group["params"]
    }


def optimizer_of(args: dict, norms: str):
    """The settings of the case at a rate of 1."""
    return settings(
        composed(
            "optimizer=daformer",
            "optimizer.lr=1",
            f"optimizer.head_lr_factor={args['head_factor']}",
            f"optimizer.weight_decay={args['weight_decay']}",
            f"optimizer.decay_norms={norms}",
        ).optimizer
    )


def test_decoder_of_vfm_uda(reference):
    case = reference("modern")["vfm_decoder"]
    weights = drawn(case.inputs["keys"], case.inputs["shapes"], case.args["salt"])
    weights = {
        k.replace("upscale.", "enlarge.").replace("out.", "classifier."): w
        for k, w in weights.items()
    }
    head = EnlargingHead(case.inputs["feature"].shape[1], len(weights["classifier.weight"]))
    head.load_state_dict(weights)
    found = head(case.inputs["feature"]).logits
    torch.testing.assert_close(found, case.out["logits"], rtol=1e-4, atol=2e-5)
    # The backbone's own enlargement, to whole patches.
    magnify, seen = composed("model=dinov2_vitb14").model.magnify, []
    net = SimpleNamespace(forward_intermediates=lambda image, **how: seen.append(image) or seen * 4)
    backbone = SimpleNamespace(magnify=magnify, patch=case.args["patch"], net=net, indices=())
    TimmBackbone.forward(backbone, torch.zeros(1, 3, *[case.args["crop"]] * 2))
    assert seen[0].shape[2:] == (case.out["input_size"],) * 2
