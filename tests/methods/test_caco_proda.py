"""CaCo + ProDA: which stage reads what."""

from tests.runs.test_stages import planned
from uda_hydra.runs.checks import check_training


def test_the_stages_begin_where_the_ones_before_end():
    stages = planned("method=caco_proda", "output=run")
    assert [*stages] == ["source", "caco", "labels", "warmup", "stage1", "stage2", "stage3"]
    warmup, first, second, third = (stage.config for stage in [*stages.values()][3:])
    # New weights: CaCo's model only lends its labels.
    assert (warmup.init, warmup.method.labels) == (None, "run/labels/labels")
    assert first.init == "run/warmup/last.pt"
    assert (second.init, second.method.teacher) == (None, "run/stage1/last.pt")
    assert third.init == third.method.teacher == "run/stage2/last.pt"


def test_the_recipe_of_the_releases():
    stages = planned("experiment=caco_proda/gta2city", "output=run")
    configs = {name: stage.config for name, stage in stages.items()}
    assert [*configs] == ["source", "caco", "labels", "warmup", "stage1", "stage2", "stage3"]
    for name, config in configs.items():
        check_training(config)
        early = name in ("source", "caco", "labels")
        assert config.dataset.target.size == ([1024, 512] if early else [2048, 1024])
        assert ("feat_norm" in config.model) == (not early)
        assert config.trainer.steps == {"source": 120000, "caco": 120000, "labels": 1}.get(
            name, 62412
        )
    assert configs["labels"].method.size == [1024, 512]
    assert configs["labels"].method.label_size == [2048, 1024]
    assert configs["warmup"].model.batch_norm == "frozen"
