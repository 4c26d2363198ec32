"""The experiments of Adversarial_DA_Exp: what they train, show, and let the user change."""

from __future__ import annotations

import json

import pytest
from hydra import initialize_config_dir

from tests.conftest import CONF, SMALL, composed
from tests.runs.test_stages import planned
from uda_hydra import tasks
from uda_hydra.published import Row
from uda_hydra.runs.checks import check_training

# Steps of the adaptation (two epochs of the target), images a step, auxiliary head.
RECIPES = {
    "synthia2city_single_v2": (2 * 2975, 1, False),
    "synthia2city_multi_v2": (2 * 2975, 1, True),
    "synthia2city_single_v3plus": (2 * 1487, 2, False),
    "city2city_single_v2": (2 * 1246, 1, False),
    "city2city_single_v3plus": (2 * 623, 2, False),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_stages_are_those_of_the_papers_rows(name):
    steps, batch, multi = RECIPES[name]
    stages = planned(f"experiment=adv_da/{name}", "output=run")
    configs = {name: stage.config for name, stage in stages.items()}
    assert [*configs] == ["pretrain", "adapt_official_bug", "adapt"]
    for config in configs.values():
        check_training(config)
        assert config.dataset.name == name.split("_")[0]
        assert config.dataset.source.size == [1280, 720]
        assert config.trainer.batch_size == batch
        assert config.model.get("multi_level", False) == multi
        assert config.optimizer.backbone_repeats == name.endswith("v2")
        assert (config.evaluation.labels, config.augmentation.blur) == ("input", 0.5)
    pretrain, bug, adapt = configs.values()
    assert pretrain.method._target_.endswith("SourceOnly")
    assert pretrain.method.channel_shuffle == "none"
    assert (pretrain.trainer.steps, pretrain.optimizer.horizon) == (80_000, 200_000)
    for config in (bug, adapt):
        assert config.init == "run/pretrain/last.pt"
        assert config.trainer.steps == config.optimizer.horizon == steps
        assert 2 * config.trainer.evaluate_every == steps
        weights = config.loss.lambda_adv, config.loss.lambda_adv_aux, config.loss.lambda_seg_aux
        assert weights == (1e-3, 2e-4, 0.1)
    assert (bug.method.discriminator_target_label, adapt.method.discriminator_target_label) == (
        0,
        1,
    )


def test_the_user_has_the_last_word():
    own = ["dataset=streets_synthia2city", "model=deeplabv2_tiny", "trainer.steps=4", "init=null"]
    given = [*own, "optimizer.horizon=9", "published=advent"]
    stages = planned("experiment=adv_da/synthia2city_single_v2", *given, "output=run")
    inits = []
    for stage in stages.values():
        config = stage.config
        assert (config.trainer.steps, config.optimizer.horizon) == (4, 9)
        assert config.dataset.name == "streets_synthia2city"
        assert config.model.blocks == [1, 1, 1, 1]
        assert config.published == "advent"
        inits.append(config.init)
    assert inits == [None, "run/pretrain/last.pt", "run/pretrain/last.pt"]


def test_one_stage_can_be_addressed_where_a_file_has_spoken():
    key = "stage.pretrain.trainer.steps=3"
    stages = planned("experiment=adv_da/city2city_single_v2", "trainer.steps=4", key)
    assert [s.config.trainer.steps for s in stages.values()] == [3, 4, 4]
    assert stages["pretrain"].config.stages == stages["pretrain"].config.stage == {}


COUNTS = {
    "synthia2city_multi_v2": "{source: 0, synthia: 6, target: 6, validation: 3}",
    "city2city_single_v3plus": "{source: 0, target: 100, validation: 0}",
}
TINY = [option for option in SMALL if not option.startswith("dataset.counts")]


@pytest.mark.parametrize("name", COUNTS)
def test_an_experiment_runs_on_streets_and_shows_what_was_published(
    streets, tmp_path, name, monkeypatch, capsys
):
    asked = []

    def known(method: str, pair: str, label_space: str) -> list[Row]:
        asked.append((method, pair))
        return [Row(method, pair, f"{method} as printed", "ResNet-101", "hearsay", {"miou": 12.5})]

    monkeypatch.setattr("uda_hydra.tasks.train.published", known)
    network = "deeplabv3plus_tiny" if name.endswith("v3plus") else "deeplabv2_tiny"
    given = [f"experiment=adv_da/{name}", f"dataset=streets_{name.split('_')[0]}", *TINY]
    given += [f"model={network}", f"dataset.counts={COUNTS[name]}", "trainer.steps=2", "init=null"]
    given += [f"dataset.root={streets}", f"output={tmp_path / 'run'}"]
    config = composed(*given)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tasks.run(config, given)

    printed = capsys.readouterr().out
    assert "mIoU gain of adapt over pretrain" in printed
    for key in ("source_only", "adversarial_da_exp"):
        assert f"mIoU 12.50, {key} as printed, ResNet-101: hearsay" in printed
    assert {pair for _, pair in asked} == {f"streets_{name.split('_')[0]}"}
    stages = ("pretrain", "adapt_official_bug", "adapt")
    results = [json.loads((tmp_path / "run" / s / "result.json").read_text()) for s in stages]
    found = [result["published"][0]["method"] for result in results]
    assert found == ["source_only", "adversarial_da_exp", "adversarial_da_exp"]
    assert ("miou_13" in results[0]) == name.startswith("synthia")
