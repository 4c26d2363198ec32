"""A stage depends on what it reads: config, files of earlier stages, data; and on nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore

import uda_hydra.methods
from tests.conftest import CONF, composed
from tests.damage import damaged
from uda_hydra import tasks
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_stages
from uda_hydra.runs.identity import record
from uda_hydra.runs.stages import plan

SCORED = ("dataset.source.size=[96,64]", "dataset.target.size=[96,48]")
TINY = (
    *("dataset=gta2city", "model=deeplabv2_tiny", "trainer=streets", "trainer.threads=1"),
    *("trainer.steps=2", "trainer.device=cpu", "dataset.cache=false", "init=null"),
    *("tracking=none", "callbacks=none", *SCORED),
)
TEACHER = "${stage:denoise}/last.pt"
STAGES = (
    "stages.warmup=['method=source_only']",
    "stages.denoise=['method=source_only','init=${stage:warmup}/last.pt']",
    "stages.distil=['method=toy_distil','init=${stage:warmup}/last.pt']",
)
THREE = ("method=toy_distil", *(f"+{line}" for line in STAGES))


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Makes the toy methods known to the builder and to Hydra."""
    folder = str(Path(__file__).with_name("toys"))
    monkeypatch.setattr(uda_hydra.methods, "__path__", [*uda_hydra.methods.__path__, folder])
    nodes = {
        "toy_distil": {"teacher_checkpoint": TEACHER, "strength": 1.0},
        "toy_eager": {"teacher": {"checkpoint": TEACHER}},
    }
    for name, values in nodes.items():
        target = f"uda_hydra.methods.{name}.{''.join(map(str.capitalize, name.split('_')))}"
        method = {"_target_": target, "name": name, **values}
        node = {"defaults": [{"override /loss": "source_only"}], "method": method}
        ConfigStore.instance().store(group="method", name=name, node=node, package="_global_")
    yield
    for name in nodes:
        del ConfigStore.instance().repo["method"][f"{name}.yaml"]


@pytest.fixture(scope="session")
def drawn(streets):
    """Generated scenes in the layouts of GTA5 and Cityscapes."""
    from tests.conftest import SMALL
    from uda_hydra import build

    pair = build.pair(composed(*SMALL, f"dataset.root={streets}"))
    return Path(pair.target.images.root).parent


@pytest.fixture
def run(drawn, tmp_path):
    """Trains in ``tmp_path/run`` on data of the test's own; returns nothing."""
    shutil.copytree(drawn, tmp_path / "data", dirs_exist_ok=True)
    roots = [
        f"dataset.source.root={tmp_path / 'data/GTA5'}",
        f"dataset.target.root={tmp_path / 'data/Cityscapes'}",
    ]

    def train(*overrides: str) -> None:
        given = [*TINY, *roots, f"output={tmp_path / 'run'}", *overrides]
        config = composed(*given)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            tasks.run(config, given)

    return train


def stages(*overrides: str):
    config = composed(*TINY, *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plan(config, [*TINY, *overrides])


def moved_aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.before-*"))


def test_a_file_of_an_earlier_stage_may_be_named_before_it_exists():
    found = stages(*THREE, "output=nowhere")
    assert found[2].config.method.teacher_checkpoint == "nowhere/denoise/last.pt"
    check_stages(found)
    eager = stages("method=toy_eager", *THREE[1:3], "+stages.last=[]", "output=nowhere")
    check_stages(eager)
    with pytest.raises(UserError, match=r"No such file.*elsewhere"):
        check_stages(
            stages(
                *("method=toy_eager", *THREE[1:3], "+stages.last=[]"),
                "+stage.last.method.teacher.checkpoint=elsewhere.pt",
            )
        )
    # What a constructor refuses is known before the first stage is trained.
    with pytest.raises(UserError, match=r"method\.strength must be positive"):
        check_stages(stages(*THREE, "method.strength=-1.0"))


def test_the_resolver_works_on_the_command_line_and_names_a_missing_stage():
    teacher = "method.teacher_checkpoint='${stage:warmup}/best.pt'"
    assert stages(*THREE, teacher, "output=r")[2].config.method.teacher_checkpoint == (
        "r/warmup/best.pt"
    )
    with pytest.raises(Exception, match=r"no stage 'denois' before this one; did you mean denoise"):
        check_stages(stages(*THREE, "method.teacher_checkpoint='${stage:denois}/last.pt'"))


def test_shared_stages_are_found_where_the_study_keeps_them():
    shared = [*THREE, "start.folder=study/start", "output=trial"]
    _, denoise, distil = stages(*shared)
    assert str(denoise.folder.parent) == "study/start"
    assert distil.config.method.teacher_checkpoint == f"{denoise.folder}/last.pt"
    # Another warm-up is another folder, and so is all that begins from it.
    _, other, _ = stages(*shared, "+stage.warmup.seed=1")
    assert other.folder != denoise.folder
    # Where the study lies changes nothing.
    _, moved, _ = stages(*[o.replace("study/", "elsewhere/") for o in shared])
    assert moved.folder.name == denoise.folder.name


def test_a_changed_stage_redoes_exactly_those_that_read_it(run, tmp_path, capsys, monkeypatch):
    def stopped(trainer, *_):
        raise Interrupted(15, 0)

    folder = tmp_path / "run"
    run(*THREE)
    run(*THREE)
    assert "nothing to do" in capsys.readouterr().out
    run(*THREE, "+stage.denoise.seed=1")
    assert moved_aside(folder) == ["denoise.before-1", "distil.before-1"]
    printed = capsys.readouterr().out
    assert "denoise: changed, retraining (seed: 0 -> 1)" in printed
    assert f"content of method.teacher_checkpoint changed ({TEACHER})" in printed
    # Nobody but the last stage reads the last stage.
    run(*THREE, "+stage.denoise.seed=1", "+stage.distil.method.strength=2.0")
    assert moved_aside(folder) == ["denoise.before-1", "distil.before-1", "distil.before-2"]
    # The weights of the first reach the third by way of the second, too.
    run(*THREE, "+stage.warmup.optimizer.lr=0.01")
    assert "content of init changed (${stage:warmup}/last.pt)" in capsys.readouterr().out
    assert {"warmup.before-1", "denoise.before-2", "distil.before-3"} <= {*moved_aside(folder)}
    # While the first is trained again there is no result of the whole.
    assert (folder / "result.json").exists()
    monkeypatch.setattr("uda_hydra.engine.trainer.Trainer.fit", stopped)
    with pytest.raises(Interrupted):
        run(*THREE, "+stage.warmup.seed=2")
    assert not (folder / "result.json").exists()


def test_initial_weights_count_by_their_content_wherever_they_lie(run, tmp_path, capsys):
    run("method=source_only")
    weights = tmp_path / "run/source_only/last.pt"
    shutil.copy(weights, tmp_path / "first.pt")
    again = ["method=source_only", f"output={tmp_path / 'again'}"]
    run(*again, f"init={tmp_path / 'first.pt'}")
    (tmp_path / "first.pt").rename(tmp_path / "moved.pt")
    capsys.readouterr()
    run(*again, f"init={tmp_path / 'moved.pt'}")
    assert "nothing to do" in capsys.readouterr().out
    shutil.copy(tmp_path / "again/source_only/last.pt", tmp_path / "moved.pt")
    run(*again, f"init={tmp_path / 'moved.pt'}")
    assert "content of init changed" in capsys.readouterr().out


def test_changed_data_are_noticed_by_a_finished_run(run, tmp_path, capsys):
    run("method=source_only")
    images = sorted((tmp_path / "data/GTA5/images").glob("*.png"))
    labels = tmp_path / "data/GTA5/labels"
    changes = (
        (
            lambda: (labels / images[0].name).write_bytes((labels / images[1].name).read_bytes()),
            "files of source were edited",
        ),
        (
            lambda: (images[2].unlink(), (labels / images[2].name).unlink()),
            "source had 6 images, now 5 images",
        ),
    )
    for number, (change, wanted) in enumerate(changes, 1):
        change()
        run("method=source_only")
        printed = capsys.readouterr().out
        assert f"data changed: {wanted}" in printed
        assert "undo the change and rename it to source_only" in printed
        assert moved_aside(tmp_path / "run") == [
            f"source_only.before-{n}" for n in range(1, number + 1)
        ]


def test_changed_data_are_noticed_by_an_interrupted_run(run, tmp_path, capsys, monkeypatch):
    def stopped(trainer, *_):
        trainer.done = 1
        trainer.save()
        raise Interrupted(15, 1)

    with monkeypatch.context() as patch:
        patch.setattr("uda_hydra.engine.trainer.Trainer.fit", stopped)
        with pytest.raises(Interrupted):
            run("method=source_only")
    (image, *_) = (tmp_path / "data/Cityscapes/leftImg8bit/train").rglob("*.png")
    image.write_bytes(image.read_bytes())
    run("method=source_only")
    printed = capsys.readouterr().out
    assert "data changed: files of target were edited" in printed
    assert "resuming" not in printed


def test_labels_that_were_made_again_count_wherever_they_lie(tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    config = composed("method=caco/retrain", f"method.labels={labels}", "init=null")
    found = []
    for seed in (0, 0, 1):
        (labels / "identity.json").write_text(json.dumps({"seed": seed}))
        found.append(record(config, {})["content"])
    assert found[0] == found[1] != found[2]


ORACLE = (
    "+stages.first=['method=source_only']",
    "+stages.second=['method=source_only','dataset.oracle=true']",
)


@pytest.mark.parametrize(
    ("labels", "given"),
    [("GTA5/labels", ("method=source_only",)), ("Cityscapes/gtFine/train", ORACLE)],
)
def test_labels_without_a_class_are_refused_before_anything_is_written(
    run, tmp_path, labels, given
):
    from PIL import Image

    for path in (tmp_path / "data" / labels).rglob("*.png"):
        with Image.open(path) as label:
            size = label.size
        Image.new("L", size, 0).save(path)
    with pytest.raises(UserError, match="source images: nothing can be learned"):
        run(*given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["half", "other types"])
def test_damaged_files_beside_a_run_cost_no_more_than_the_work_itself(run, tmp_path, capsys, kind):
    run("method=source_only")
    files = [*(tmp_path / "run").rglob("*.json"), tmp_path / "run/source_only/checksums.txt"]
    whole = {path: path.read_text() for path in files}
    scores = scores_of(tmp_path / "run/result.json")
    for path in files:
        path.write_bytes(damaged(path.read_bytes(), kind))
    run("method=source_only")
    for path, text in whole.items():
        if path.suffix == ".json":
            assert json.loads(path.read_text()).keys() == json.loads(text).keys()
    assert scores_of(tmp_path / "run/result.json") == scores
    capsys.readouterr()
    run("method=source_only")
    assert "nothing to do" in capsys.readouterr().out


def test_a_result_of_another_training_does_not_count(run, tmp_path, capsys):
    stage = tmp_path / "run/source_only"
    run("method=source_only")
    first = (stage / "result.json").read_bytes()
    run("method=source_only", "seed=1")
    second = json.loads((stage / "result.json").read_text())
    (stage / "result.json").write_bytes(first)
    capsys.readouterr()
    run("method=source_only", "seed=1")
    assert "resuming after step 2" in capsys.readouterr().out
    assert scores_of(stage / "result.json") == scores_of(tmp_path / "run/result.json")
    assert json.loads((stage / "result.json").read_text())["checksum"] != second["checksum"]
    # Without its identity a training is no one's.
    (stage / "identity.json").unlink()
    run("method=source_only", "seed=1")
    assert "identity.json is missing, though last.pt is there" in capsys.readouterr().out
    assert moved_aside(tmp_path / "run") == ["source_only.before-1", "source_only.before-2"]


def test_data_known_by_content_may_be_copied_and_touched(run, tmp_path, capsys):
    run("method=source_only", "fingerprint=content")
    for path in (tmp_path / "data").rglob("*.png"):
        os.utime(path, ns=(0, 0))
    capsys.readouterr()
    # What was recorded decides how the data are compared.
    run("method=source_only", "fingerprint=times")
    assert "nothing to do" in capsys.readouterr().out
    image = next((tmp_path / "data/GTA5/images").glob("*.png"))
    image.write_bytes(image.read_bytes() + b"\0")
    run("method=source_only", "fingerprint=content")
    assert "data changed: files of source were edited" in capsys.readouterr().out


def test_a_scan_at_its_usual_place_belongs_to_the_identity(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rare = ("method=source_only", "sampler=rare_class", "sampler.min_pixels=10")
    with pytest.raises(UserError, match="add task=scan"):
        run(*rare)
    assert not (tmp_path / "run").exists()
    run(*rare, "task=scan")
    run(*rare)
    (scan,) = (tmp_path / "outputs/scan").glob("*19.json")
    whole = scan.read_text()
    capsys.readouterr()
    run(*rare)
    assert "nothing to do" in capsys.readouterr().out
    scan.write_text(whole + "\n")
    run(*rare)
    assert "data changed: files of scan were edited" in capsys.readouterr().out
    scan.write_text(whole[:-100])
    with pytest.raises(UserError, match=r"sampler: .*19\.json"):
        run(*rare)


def scores_of(path: Path) -> dict[str, float]:
    """The numbers of a result that do not depend on when it was made."""
    result = json.loads(path.read_text())
    return {key: value for key, value in result.items() if "/" in key or key == "seed"}
