"""The specification of a study, and what is refused before anything is run or written."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import optuna
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf, open_dict

from tests.conftest import CONF, composed
from uda_hydra.config import plain
from uda_hydra.errors import UserError
from uda_hydra.runs import checks
from uda_hydra.studies.keys import divide
from uda_hydra.studies.overview import overview, trainings
from uda_hydra.studies.plugin import StudyOptions, StudySweeper, check_options
from uda_hydra.studies.queue import Job
from uda_hydra.studies.records import Trial
from uda_hydra.studies.spec import MINIMIZED, parse_study
from uda_hydra.studies.trainings import check_trainings

AUX = "loss.lambda_seg_aux"
UNIT = optuna.distributions.UniformDistribution(0, 1)


def spec_of(*overrides: str):
    """As the sweeper reads a command line: what is swept comes without its values."""
    given = [o for o in overrides if "," not in o.partition("=")[2] or "=[" in o]
    if not any(o.startswith("method=") for o in given):
        given = ["method=source_only", *given]
    config = composed(*given, with_hydra=True)
    names = [one.name for one in fields(StudyOptions)]
    options = StudyOptions(**{name: plain(config.hydra.sweeper[name]) for name in names})
    arguments = [o for o in overrides if not o.startswith("hydra")]
    with open_dict(config):
        config.hydra.overrides.task = arguments
    return parse_study(divide(options.params, arguments, config), options, config)


def checked(*overrides: str):
    """What the sweeper does before it begins; the stages of every training that it knows."""
    spec = spec_of(*overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        check_options(spec.options)
        spec.check()
        return check_trainings(spec)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("objective=[miou/last,mio]", "objective=mio "),
        ("objective=[]", "objective must name"),
        ("hydra.sweeper.n_jobs=2", "n_jobs=2 needs hydra/launcher"),
        ("hydra.sweeper.directions=[up]", "directions"),
        ("hydra.sweeper.devices=[cuda:77]", "cuda:77"),
        ("hydra.sweeper.max_hours=0", "max_hours must be positive"),
        ("hydra.sweeper.storage=nonsense", "storage=nonsense cannot be used"),
        ("hydra.sweeper.storage='postgresql://me:secret@127.0.0.1:1/none'", r"me:\*\*\*@"),
        ("hydra.sweeper.storage='sqlite:///:memory:'", "in memory ends with its process"),
        ("hydra.sweeper.sampler._target_=os.system", "os.system is not a sampler of Optuna"),
        ("hydra.sweeper.storage='sqlite://'", "in memory ends with its process"),
        ("trainer.steps=-1", "trainer.steps"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, ValueError), match=message):
        checked(f"{AUX}=0.2,0.3", wrong)
    assert not [*tmp_path.iterdir()]


def test_a_reference_is_a_truth_value_and_no_number_that_equals_one():
    options = spec_of(f"{AUX}=0.2,0.3").options
    for reference in (True, False, "auto"):
        check_options(replace(options, reference=reference))
    with pytest.raises(ValueError, match="reference must be true, false or auto, got 1"):
        check_options(replace(options, reference=1))


def test_trainings_at_once_take_the_devices_in_turn():
    spec = spec_of(f"{AUX}=0.2,0.3", "hydra.sweeper.devices=[cuda:0,cuda:1]")
    job = Job(0, 0, {AUX: 0.2}, 0, "trials/0000", None)
    chosen = [[o for o in spec.overrides(job, place) if "device" in o] for place in range(3)]
    assert chosen == [[f"trainer.device=cuda:{number}"] for number in (0, 1, 0)]


@pytest.mark.parametrize("task", [["task=scan"], ["task=evaluate", "objective=iou/road"]])
def test_a_study_needs_a_task_with_its_objective(task):
    with pytest.raises(UserError, match=r"task=\w+ has no .* that a study could compare"):
        checked(f"{AUX}=0.2,0.3", *task)


def test_a_pruner_needs_miou_and_a_grid_needs_lists():
    with pytest.raises(UserError, match="hydra/sweeper/pruner"):
        checked(f"{AUX}=0.2,0.3", "hydra/sweeper/pruner=median", "objective=seconds")
    with pytest.raises(UserError, match="needs listed values"):
        spec_of(f"{AUX}=tag(log, interval(0.1,1))", "hydra/sweeper/sampler=grid")


def test_the_folder_is_named_by_everything_that_decides_the_numbers():
    def folder(*overrides: str) -> Path:
        return spec_of(f"{AUX}=0.2,0.3", *overrides).folder

    assert folder() == folder("trainer.workers=3", "tracking=none", "hydra.sweeper.n_trials=5")
    assert folder() == folder("seed=1,2") == folder("seed=7") == folder("task=report")
    others = [
        folder("trainer.steps=7"),
        folder("objective=seconds"),
        folder("start.seed=0"),
        folder('start.overrides=["method=source_only"]'),
        folder("hydra/sweeper/pruner=median"),
        folder("task=evaluate"),
        folder("task=adabn"),
        spec_of(f"{AUX}=0.2,0.4").folder,
    ]
    assert len({folder(), *others}) == 9
    assert str(folder()).startswith("outputs/studies/grid-source_only-streets-")
    assert "task=adabn" in spec_of(f"{AUX}=0.2,0.3", "task=adabn").command
    assert "task" not in spec_of(f"{AUX}=0.2,0.3", "task=report").command
    assert folder("output='my study'") == Path("my study")
    assert spec_of("method=minent,advent").folder.name.startswith("grid-streets-")


def test_seeds_come_from_the_command_line_the_file_or_the_run():
    assert spec_of(f"{AUX}=0.2,0.3").design.seeds == (0,)
    assert spec_of(f"{AUX}=0.2,0.3", "seed=4").design.seeds == (4,)
    assert spec_of(f"{AUX}=0.2,0.3", "hydra.sweeper.seeds=[5,6]").design.seeds == (5, 6)
    both = spec_of(f"{AUX}=0.2,0.3", "seed=1,2", "hydra.sweeper.seeds=[5,6]")
    assert both.design.seeds == (1, 2)
    one = spec_of(f"{AUX}=0.2,0.3", "seed=7", "hydra.sweeper.seeds=[5,6]")
    assert one.design.seeds == (7,)


@pytest.mark.parametrize("more", [(), ("hydra.sweeper.n_trials=50",), ("seed=0,1",)])
def test_no_more_is_drawn_than_there_are_listed_points(more):
    drawn = spec_of(f"{AUX}=0.2,0.3", "hydra/sweeper/sampler=random", *more).design
    assert drawn.total == 3 * len(drawn.seeds)
    few = spec_of(f"{AUX}=0.2,0.3", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=2")
    assert few.design.total == 2


@pytest.mark.parametrize("seed", [0, 4294, 4295, 2**32 - 1])
def test_any_seed_of_a_sampler_draws(seed):
    spec = spec_of(f"{AUX}=0.2,0.3", f"hydra.sweeper.sampler.seed={seed}")
    assert 0 <= optuna.create_study(sampler=spec.sampler(999)).ask({"x": UNIT}).params["x"] <= 1


def test_what_is_less_is_better_for_time_and_entropy():
    several = "objective=[miou/last,seconds,entropy/target,snd/target]"
    found = spec_of(f"{AUX}=0.2,0.3", several)
    assert [*found.objectives.values()] == ["maximize", "minimize", "minimize", "maximize"]
    for name in MINIMIZED:
        checks.check_objective(spec_of(f"{AUX}=0.2,0.3", f"objective={name}").config)


def test_a_trial_is_a_command_line_of_its_own():
    found = spec_of(f"{AUX}=0.2,null", "seed=0,1", "output='my study'", "trainer.steps=9")
    job = Job(3, 9, {AUX: None}, 1, "trials/0003", None)
    assert found.overrides(job) == [
        "trainer.steps=9",
        f"{AUX}=null",
        "seed=1",
        "output='my study/trials/0003'",
        "start.folder='my study/start'",
        "trial.study='my study'",
        "trial.number=3",
        f"trial.swept=[{AUX}]",
        "trial.prune=false",
    ]
    assert "launch.py -m" in found.command
    secret = "hydra.sweeper.storage='postgresql://me:secret@host/db'"
    message = spec_of(f"{AUX}=0.2,0.3", "seed=1,2", secret, "task=report").command
    assert "me:***@host" in message
    assert "secret" not in message
    assert "task" not in message
    assert found.describe(job) == "lambda_seg_aux=null seed 1"
    drawn = Job(4, 9, {AUX: 0.123456789, "a.lambda_seg_aux": 5e-05}, 1, "", 3)
    described = f"{AUX}=0.1235 a.lambda_seg_aux=5e-05 seed 1, continues trial 3"
    assert found.describe(drawn) == described
    assert f"{AUX}=0.123456789" in found.overrides(drawn)


def test_published_curves_are_found_by_the_data_sets_name_and_by_whose_they_are():
    swept = ("method=adaptsegnet", "dataset=synthia2city_maxsquare", "loss.lambda_adv=0.001,0.002")
    facts = spec_of(*swept).facts({})["facts"]
    assert (facts["dataset"], facts["published"]) == ("synthia2city", "adaptsegnet")
    facts = spec_of(*swept, "published=adversarial_da_exp").facts({})["facts"]
    assert facts["published"] == "adversarial_da_exp"


@pytest.mark.parametrize(
    ("swept", "message"),
    [
        (["method=advent", "method.gan=ls,foo"], r"method\.gan.*foo"),
        (["method=advent", "loss.lambda_adv=0.1,abc"], r"lambda_adv must be a number, got 'abc'"),
        (["method=adaptsegnet,cacoo"], "no method=cacoo; did you mean method=caco"),
        (["model=deeplabv2_tiny,deeplabv2_tny"], "did you mean model=deeplabv2_tiny"),
        (["trainer.steps=interval(1.5,4)"], r"trainer\.steps must be a whole number"),
        (["trainer.batch_size=2,4", "trainer.accumulate=1,4"], r"batch_size=2, trainer\.acc.*=4\)"),
        (["dataset.target.size=4,5"], r"dataset\.target\.size must be \[width, height\]"),
        ([f"{AUX}=0.2,0.3", "dataset.counts=source:20"], r'mapping.*"dataset\.counts=\{name'),
        (["init=nowhere.pt,null"], r"init=nowhere\.pt: there is no such file"),
    ],
)
def test_every_training_is_checked_before_the_first(tmp_path, monkeypatch, swept, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        checked("tracking=none", *swept)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_all_points_of_a_grid_are_composed_and_the_ends_of_what_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plans = checked("tracking=none", "method=adaptsegnet,advent", "seed=0,1")
    assert [stages[-1].name for stages in plans] == ["adaptsegnet", "advent"]
    (*_, low, high) = checked("tracking=none", f"{AUX}=interval(0.2,0.3)")
    assert [stages[-1].config.loss.lambda_seg_aux for stages in (low, high)] == [0.1, 0.3]


def test_the_overview_counts_points_seeds_starts_and_what_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["method=advent", "loss.lambda_adv=0.1,0.2", "seed=0,1", "start.seed=0"]
    spec = spec_of(*given, 'start.overrides=["method=source_only"]', "output=study")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plans = check_trainings(spec)
    point = {"loss.lambda_adv": 0.001}
    done = Trial(0, "complete", point, 0, Path("x"), (0.5,), {"seconds": 3600.0})
    stopped = Trial(1, "interrupted", point, 1, Path("y"))
    # A seed that is not asked for says nothing of those that are.
    other = replace(done, number=2, seed=7)
    facts = dict(overview(spec, plans, [done, stopped, other]))
    size = "3 points x 2 seeds (0, 1) = 6: 1 complete, 1 interrupted, 4 waiting"
    assert facts["trainings"] == size
    assert facts["shared starts"] == "1, 0 done"
    assert facts["reference"] == "loss.lambda_adv=0.001"
    assert facts["time"].startswith("about 5 h to train, 60 min each")
    lines = trainings(spec, [done, stopped])
    assert len(lines) == 6
    assert lines[0] == ("lambda_adv=0.001 seed 0", "complete")
    # A start that the swept key changes is another one for each value.
    spec = spec_of(f"{AUX}=0.2,0.3", *given[:1], 'start.overrides=["method=source_only"]')
    with initialize_config_dir(str(CONF), version_base="1.3"):
        facts = dict(overview(spec, check_trainings(spec), []))
    assert facts["shared starts"] == "3, 0 done"


@pytest.mark.parametrize("options", [{"seeds": [7]}, {"dry_run": True}, {"max_hours": 1.0}])
def test_a_table_refuses_what_only_a_study_heeds(options, monkeypatch):
    monkeypatch.setattr(StudySweeper, "_run_one_by_one", lambda *_: None)
    (name,) = options
    fine = {"params": {"seed": "0,1"}, "sampler": {}, "pruner": {}}
    free, asking = StudySweeper(**fine), StudySweeper(**fine, **options)
    free._config = asking._config = OmegaConf.create({"table": "outputs/tables/streets"})
    free.sweep([])
    with pytest.raises(UserError, match=rf"does not heed hydra\.sweeper\.{name}=.*seed=7"):
        asking.sweep([])


@pytest.mark.parametrize(
    "line",
    [
        "sweep=threshold method=proca/adapt start.overrides=['method=proca/source']",
        "sweep=sampling_temperature method=daformer sampler=rare_class dataset=idda2camvid",
        "sweep=mask_ratio method=advent extra=masked",
        "sweep=ema method=advent extra=mixed augmentation.crop=[256,128]",
    ],
)
def test_all_points_of_a_question_share_one_start(line, monkeypatch):
    monkeypatch.setattr(checks, "check_scan", lambda path: None)
    plans = checked(*line.split())
    assert len(plans) > 3
    assert len({stage.folder for stages in plans for stage in stages[:-1]}) == 1
