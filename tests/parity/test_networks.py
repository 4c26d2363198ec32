"""Our networks with the official weights give the official logits and features."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from tests.parity import official_networks
from tests.parity.official_networks import NETWORKS, manifest, on_meta, renamed, small, split_name

FULL = [
    "adaptseg_multi_r101_19",
    "adaptseg_single_r101_19",
    "adaptseg_vgg16_19",
    "advent_r101_19",
    "advent_r101_19_even",
    "advent_r101_16",
    "caco_f_r101_19",
    "cfcontra_none_r101_19",
    "cfcontra_moco_r101_19",
    "cfcontra_simclr_r101_19",
    "cacovan_gn_se_r101_19",
    "cacovan_bn_r101_19",
    "cacovan_advent_proj_r101_19",
    "proda_r101_19",
    "proda_r101_bnclr_19",
    "proda_r101_bnclr_16",
    "proca_r101_19",
    "proca_r101_19_even",
    "proca_r101_16",
    "proca_r101_frozenbn_19",
    "proca_r101_v3head_19",
    "proca_vgg16_19",
    "maxsquare_r101_19",
    "maxsquare_r101_13",
    "ybao_v3plus_r101_19",
    "ybao_v3plus_r101_16",
    "daformer_mitb5_19",
    "segformer_mitb5_19",
    "daformer_dlv2red_r101v1c_19",
]
# One of each family; the others take a minute together.
QUICK = {
    "advent_r101_19_even",
    "adaptseg_vgg16_19",
    "proda_r101_bnclr_19",
    "ybao_v3plus_r101_16",
    "daformer_mitb5_19",
}
MANIFESTS = sorted(
    {name.removesuffix("_even") for name in FULL}
    | {"adaptseg_multi_r101_16", "advent_single_r101_19", "cacovan_advent_caco_r101_19"}
    | {"cfcontra_byol_r101_19", "cfcontra_linear_r101_19", "cfcontra_moco_r101_16"}
    | {"cfcontra_none_r101_16", "maxsquare_r101_16", "proda_r101_16"}
)


def assert_close(ours: Tensor, official: Tensor, scale: float) -> None:
    assert ours.shape == official.shape
    assert (ours - official).abs().max() <= 1e-4 * scale


def assert_summary(ours: Tensor, case, name: str) -> None:
    """A map of which the reference has a part, and figures of the whole."""
    out, steps = case.out, case.args[f"{name}_stride"].tolist()
    scale = out[f"{name}_std"]
    assert [*ours.shape] == out[f"{name}_shape"].tolist()
    assert_close(ours[tuple(slice(None, None, step) for step in steps)], out[f"{name}_sub"], scale)
    for figure, value in official_networks.figures(ours).items():
        bound = max(1e-4 * scale, 1e-4 * abs(out[f"{name}_{figure}"]))
        assert abs(float(value) - out[f"{name}_{figure}"]) <= bound, figure


@pytest.mark.parametrize(
    "full", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FULL]
)
def test_full_networks_give_the_official_outputs(reference, full):
    group = reference("networks")
    case = group[f"full_{full}"]
    name, num_classes = split_name(case.args["manifest"])
    segmenter = on_meta(name, num_classes)
    official_networks.fill(segmenter, case, NETWORKS[name].layout)
    segmenter.keep_stages = True
    image = official_networks.image_of(case, group)
    with torch.inference_mode():
        prediction = segmenter.eval()(image)
    ours = official_networks.outputs(name, prediction, image.shape[2:])
    whole = [key for key in ("main", "aux") if key in case.out]
    parts = [key.removesuffix("_sub") for key in case.out if key.endswith("_sub")]
    assert whole or "main_up" in parts
    for key in whole:
        assert_close(ours[key], case.out[key], float(case.out[key].std()))
    for key in parts:
        assert_summary(ours[key], case, key)


def test_every_full_network_is_compared(reference):
    assert sorted(reference("networks").names("full_")) == sorted(f"full_{n}" for n in FULL)


PRODA = ["net_small", "net_small_bn_clr", pytest.param("net_full", marks=pytest.mark.slow)]


@pytest.mark.parametrize("case", PRODA)
def test_networks_of_proda(reference, case):
    case = reference("proda")[case]
    name = "proda_bnclr" if case.args["bn_clr"] else "proda"
    segmenter = on_meta(name, case.args["n_class"], blocks=tuple(case.args["layers"].tolist()))
    official_networks.fill(segmenter, case, "proda")
    with torch.inference_mode():
        prediction = segmenter.eval()(case.inputs["image"])
    torch.testing.assert_close(prediction.main, case.out["out"], rtol=1e-3, atol=1e-4)
    feature = prediction.head_feature[:, :: case.args["feat_channel_stride"]]
    torch.testing.assert_close(feature, case.out["feat"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["moco", "simclr", "linear", "none"])
def test_networks_of_cfcontra(reference, kind):
    case = reference("cfcontra")[f"network_head_{kind}"]
    name = f"cfcontra_{case.args['head']}"
    segmenter = small(name, case.args["num_classes"])
    names = official_networks.fill(segmenter, case, name)
    with torch.no_grad():
        prediction = segmenter.train()(case.inputs["image"])
    feature = prediction.features if kind == "none" else prediction.projection
    torch.testing.assert_close(prediction.main, case.out["main"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        feature[:, ::128], case.out["features_every128"], rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(feature.norm(dim=1), case.out["features_l2"], rtol=1e-4, atol=1e-3)
    optimised = {id(p) for group in segmenter.parameter_groups() for p in group["params"]}
    idle = {n for n, p in segmenter.named_parameters() if id(p) not in optimised}
    idle = {n for n in idle if n.startswith("projector.")}
    assert idle == {names[official] for official in case.out["not_optimised_head"]}


@pytest.mark.parametrize("file", MANIFESTS)
def test_entries_have_the_official_shapes_under_our_names(file):
    name, num_classes = split_name(file)
    layout = manifest("renaming")["layout_of_manifest"][file]
    assert layout == NETWORKS[name].layout
    official = {renamed(layout, key): shape for key, shape in manifest(file)}
    official.pop(None, None)
    ours = on_meta(name, num_classes).state_dict()
    assert {key: [*value.shape] for key, value in ours.items()} == official


@pytest.mark.parametrize("file", MANIFESTS)
def test_groups_and_counts_are_the_official_ones(file):
    official = manifest("param_groups")["networks"][file]
    name, num_classes = split_name(file)
    segmenter = on_meta(name, num_classes)
    unused = re.match("segformer", file) and sum(
        torch.Size(shape).numel() for key, shape in manifest(file) if ".conv_seg." in key
    )
    assert sum(p.numel() for p in segmenter.parameters()) == official["parameters"] - (unused or 0)
    # What the release puts in no group is frozen in ours: the random projection of CFContra.
    idle = len(official.get("in_no_group", []))
    frozen = sum(not p.requires_grad for p in segmenter.parameters())
    assert frozen == official["frozen_tensors"] + idle
    ours = [(len(g["params"]), g["repeats"]) for g in segmenter.parameter_groups()]
    if "groups" not in official:
        assert all(repeats == [1] * count for count, repeats in ours)
        return
    if len(official["groups"]) == 1:
        # The VGG preset gives both groups the same rate.
        ours = [(sum(count for count, _ in ours), [*ours[0][1], *ours[1][1]])]
    for (count, repeats), group in zip(ours, official["groups"], strict=True):
        assert count == group["distinct_tensors"]
        times = {str(n): repeats.count(n) for n in sorted(set(repeats))}
        assert times == group["tensors_listed_r_times"]
