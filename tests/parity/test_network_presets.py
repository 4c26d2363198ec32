"""A preset of conf/model is the network whose outputs are compared with the release's."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import composed
from tests.parity.official_networks import on_meta
from uda_hydra import build
from uda_hydra.models.heads import AsppSum

PRESETS = [
    ("adaptsegnet_resnet101", "adaptseg_multi"),
    ("adaptsegnet_resnet101 model.multi_level=false", "adaptseg_single"),
    ("advent_resnet101", "advent"),
    ("advent_resnet101 model.multi_level=false", "advent_single"),
    ("deeplabv2_resnet101", "caco_f"),
    ("maxsquare_resnet101", "maxsquare"),
    ("cfcontra_resnet101", "cfcontra_moco"),
    ("cfcontra_resnet101 model.projector=simclr", "cfcontra_simclr"),
    ("cfcontra_resnet101 model.projector=null", "cfcontra_none"),
    ("caco_vanilla_resnet101", "cacovan_advent_proj"),
    ("caco_vanilla_cat_resnet101", "cacovan_gn_se"),
    ("proda_resnet101", "proda"),
    ("proda_resnet101 model.feat_norm=true", "proda_bnclr"),
    ("proca_resnet101", "proca"),
    ("proca_resnet101 model.batch_norm=fixed", "proca_frozenbn"),
    ("proca_cat_resnet101", "proca_v3head"),
    ("proca_vgg16", "proca_vgg16"),
    ("deeplabv2_vgg16", "adaptseg_vgg16"),
    ("deeplabv3plus_resnet101", "ybao_v3plus"),
    ("deeplabv3plus_resnet101 model.output_stride=8", "ybao_v3plus_os8"),
    ("daformer_mitb5", "daformer_mitb5"),
    ("segformer_mitb5", "segformer_mitb5"),
    ("daformer_dlv2_resnet101", "daformer_dlv2red_r101v1c"),
]


@pytest.mark.parametrize(("preset", "name"), PRESETS)
def test_presets_are_the_compared_networks(preset, name):
    config = composed("dataset=gta2city", *f"model={preset}".split())
    with torch.device("meta"):
        ours = build.build(config.model, "model", num_classes=19)
    compared = on_meta(name, 19)
    # A module prints every option of its layers.
    assert str(ours) == str(compared)
    for one, other in zip(ours.named_parameters(), compared.named_parameters(), strict=True):
        assert one[0] == other[0]
        assert one[1].requires_grad == other[1].requires_grad, one[0]
    assert ours.main_reads == compared.main_reads
    assert ours.normalization == compared.normalization
    active = [
        [m.active_branches for m in s.modules() if isinstance(m, AsppSum)] for s in (ours, compared)
    ]
    assert active[0] == active[1]
