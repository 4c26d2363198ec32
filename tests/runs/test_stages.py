"""What each stage of a run is composed of."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import CONF, composed
from uda_hydra.errors import UserError
from uda_hydra.files import flat
from uda_hydra.runs.identity import identity
from uda_hydra.runs.layout import MARK, check_folder, mark_folder
from uda_hydra.runs.stages import plan


def planned(*overrides):
    config = composed(*overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {s.name: s for s in plan(config, [*overrides])}


def test_caco_is_a_source_model_and_then_caco_from_it():
    stages = planned("output='some where/run=1'")
    assert [*stages] == ["source", "caco"]
    source, caco = (stage.config for stage in stages.values())
    assert source.method._target_.endswith("SourceOnly")
    assert caco.method._target_.endswith("CaCo")
    assert source.init is None
    assert caco.init == "some where/run=1/source/last.pt"
    assert [str(s.folder) for s in stages.values()] == [
        "some where/run=1/source",
        "some where/run=1/caco",
    ]


def test_an_override_reaches_every_stage_that_has_its_key():
    source, caco = planned(
        "trainer.steps=7", "loss.lambda_seg_aux=0.3", "loss.lambda_contrast=0.5", "seed=4"
    ).values()
    for stage in (source, caco):
        assert (stage.config.trainer.steps, stage.config.seed) == (7, 4)
        assert stage.config.loss.lambda_seg_aux == 0.3
    assert "lambda_contrast" not in source.config.loss
    assert caco.config.loss.lambda_contrast == 0.5


def test_a_stage_can_be_addressed_alone():
    source, caco = planned("trainer.steps=7", "+stage.source.trainer.steps=3").values()
    assert source.config.trainer.steps == 3
    assert caco.config.trainer.steps == 7


def test_a_data_set_may_give_source_models_a_length_of_their_own():
    start = 'start.overrides=["method=proca/source"]'
    alone = [[f"method={name}"] for name in ("source_only", "proca/source", "proca/ssl")]
    for method in (*alone, ["method=caco"], ["method=proca/adapt", start]):
        first, *later = planned(*method, "dataset=idda2camvid").values()
        assert first.config.trainer.steps == first.config.optimizer.horizon == 4000
        assert [stage.config.trainer.steps for stage in later] == [400] * len(later)
    source, caco = planned("dataset=idda2camvid", "trainer.steps=7").values()
    assert source.config.trainer.steps == caco.config.trainer.steps == 7
    smoke = planned(
        *("dataset=idda2camvid", "method=proca", "experiment=smoke"),
        "+stage.source.optimizer.lr=0.5",
    )
    assert smoke["source"].config.optimizer.lr == 0.5
    steps = {name: stage.config.trainer.steps for name, stage in smoke.items()}
    assert steps == dict.fromkeys(steps, 6) | {"prototype_init": 1, "pseudo_label": 1}


@pytest.mark.parametrize("longer", ["scale=paper", "trainer.steps=7"])
def test_a_stage_that_trains_nothing_takes_one_step(longer):
    stages = planned("method=cfcontra", "dataset=idda2camvid", longer)
    assert stages["centres"].config.trainer.steps == 1
    assert stages["contrast"].config.trainer.steps > 1


def test_where_a_run_begins_belongs_to_its_first_stage():
    source, caco = planned("init=resnet.pth", "output=run").values()
    assert source.config.init == "resnet.pth"
    assert caco.config.init == "run/source/last.pt"


def test_a_choice_of_group_reaches_every_stage():
    source, caco = planned("dataset=gta2city", "trainer=streets").values()
    for stage in (source, caco):
        assert stage.config.dataset.name == "gta2city"
        assert stage.config.trainer.batch_size == 2


def test_an_unknown_stage_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no stage 'sourc'.*did you mean source"):
        planned("+stage.sourc.trainer.steps=3")
    with pytest.raises(UserError, match=r"no stage 'source'.*did you mean source_only"):
        planned("method=source_only", "+stage.source.trainer.steps=3")
    with pytest.raises(UserError, match=r"\+stage\.source_only=3 names no key of the stage"):
        planned("method=source_only", "+stage.source_only=3")
    with pytest.raises(UserError, match=r"names no key of the stage"):
        planned("method=source_only", "+stage.source_only={trainer: {steps: 3}}")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["experiment=demo", "method=advent"], r"method=advent reaches no stage: source, statist"),
        (["experiment=demo", "method=proca"], "method=proca reaches no stage"),
        (["experiment=controls", "extra=masked"], r"name a row: \+stage\.oracle\.extra=masked"),
        (["experiment=demo", "~stages.source", "init=x.pt"], "init=x.pt reaches no stage"),
    ],
)
def test_an_override_that_no_stage_takes_is_refused(lines, message):
    with pytest.raises(UserError, match=message):
        planned(*lines)


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (["experiment=smoke", "method=caco"], "seed"),
        (["method=proca", "~stages.ssl"], "seed"),
        (["experiment=demo", "method=caco"], "seed"),
        (["method=caco", "++method.foo=0"], "method.foo"),
        (["method=caco", "~callbacks.pictures"], "seed"),
    ],
)
def test_one_that_a_stage_takes_is_not(lines, key):
    *_, last = planned(*lines).values()
    assert OmegaConf.select(last.config, key) == 0


def test_keys_in_braces_count_as_keys():
    """``trainer={steps: 5}`` chooses no option of the group trainer."""
    source, caco = planned("+stage.source.trainer={steps: 5}", "trainer.steps=7").values()
    assert (source.config.trainer.steps, caco.config.trainer.steps) == (5, 7)
    source, _ = planned("trainer.steps=7", "trainer={steps: 5}").values()
    assert source.config.trainer.steps == 5


def test_the_default_folder_tells_runs_apart_and_knows_them_again():
    def folder(*overrides):
        return planned("method=source_only", *overrides)["source_only"].folder

    assert folder() == folder()
    assert folder() == folder("trainer.workers=2", "tracking=none", "dataset.cache=false")
    assert folder() != folder("trainer.steps=7")
    assert str(folder()).startswith("outputs/runs/source_only-streets-seed0-")
    assert folder().name == "source_only"


def test_what_changes_no_number_is_not_part_of_the_identity():
    config = planned("method=source_only")["source_only"].config
    keys = identity(config)
    assert "trainer.steps" in keys
    assert not [k for k in keys if k.split(".")[0] in ("tracking", "callbacks", "output")]


def test_flat_keeps_empty_and_nested_values():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}


@pytest.mark.parametrize("kind", ["study", "table", "evaluation", "stylized data set", "training"])
def test_a_folder_belongs_to_one_kind_of_run(tmp_path, kind):
    mark_folder(tmp_path, kind, ["source", "caco"] if kind == "training" else ())
    check_folder(tmp_path, kind, ["caco", "more"] if kind == "training" else ())
    with pytest.raises(UserError, match=rf"another run \({kind}.*; this is training of minent\)"):
        check_folder(tmp_path, "training", ["minent"])


def test_one_training_and_a_run_of_stages_do_not_share_a_folder(tmp_path):
    mark_folder(tmp_path, "training", ["source", "caco"])
    with pytest.raises(UserError, match="training of source, caco; this is training of caco"):
        check_folder(tmp_path, "training", ["caco"])


@pytest.mark.parametrize(
    "kind", ["study", "table", "prediction", "conversion", "stylized data set"]
)
@pytest.mark.parametrize("name", [MARK, "identity.json"])
def test_only_an_evaluation_may_lie_in_the_folder_of_a_training(tmp_path, kind, name):
    if name == MARK:
        mark_folder(tmp_path, "training", ["source", "caco"])
    (tmp_path / name).touch()
    before = (tmp_path / name).read_bytes()
    check_folder(tmp_path, "evaluation")
    mark_folder(tmp_path, "evaluation")
    assert (tmp_path / name).read_bytes() == before
    with pytest.raises(UserError, match=rf"holds another run .*this is {kind}.*output="):
        check_folder(tmp_path, kind)


def test_files_of_others_are_not_written_over(tmp_path):
    check_folder(tmp_path, "prediction", writes=["labels"])
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match="holds labels, which no prediction of this program"):
        check_folder(tmp_path, "prediction", writes=["labels"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; give a folder"):
        check_folder(tmp_path / "file", "study")


def test_a_run_does_not_begin_in_the_folder_of_a_stage(tmp_path):
    (tmp_path / "identity.json").write_text("{}")
    with pytest.raises(UserError, match="stage of a training"):
        check_folder(tmp_path, "training", ["source_only"])


def test_the_demo_compares_caco_with_its_control():
    source, statistics, caco = planned("experiment=demo", "output=demo").values()
    assert statistics.config.init == caco.config.init == "demo/source/last.pt"
    assert {source.config.trainer.steps} == {s.config.trainer.steps for s in (statistics, caco)}
    weights = statistics.config.loss
    assert weights.lambda_ent == weights.lambda_ent_aux == 0
    assert statistics.config.method.prior_strictness is None
    assert caco.config.loss == planned("output=demo")["caco"].config.loss
