"""What trainings leave on the disk."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from tests.conftest import CONF, SMALL, composed
from uda_hydra.runs.disk import bytes_of, free_bytes, kept_of
from uda_hydra.runs.stages import Stage, plan
from uda_hydra.types import Step


@pytest.mark.parametrize("method", ["adaptsegnet", "dacs"])
def test_the_expected_size_is_that_of_the_files(make_trainer, method, tmp_path):
    given = [f"method={method}", "init=null"]
    trainer = make_trainer(*given)
    source, target = next(trainer.batches())
    trainer.step(source, target, Step(0, 0.0))
    trainer.checkpoints.save(trainer.state_dict())
    trainer.checkpoints.save_best(trainer.state_dict())
    sizes = {name: (tmp_path / f"{name}.pt").stat().st_size for name in ("last", "best")}
    config = composed(*SMALL, *given)
    assert {name: bytes_of(config, name) for name in sizes} == pytest.approx(sizes, rel=0.1)
    assert bytes_of(config, "both") == 2 * bytes_of(config, "last") + bytes_of(config, "best")
    assert bytes_of(config, "weights") == bytes_of(config, "best")


def test_what_a_later_stage_reads_is_kept(tmp_path):
    given = ["method=caco", f"output={tmp_path}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        stages = plan(compose("config", given), given)
    assert [kept_of(stage, stages, "best") for stage in stages] == ["both", "best"]
    assert [kept_of(stage, stages, "weights") for stage in stages] == ["weights"] * 2
    stages[-1].config.init = f"{stages[0].folder}/best.pt"
    assert [kept_of(stage, stages, "weights") for stage in stages] == ["both", "weights"]
    alone = Stage("caco", stages[-1].config.copy())
    alone.config.table = str(tmp_path)
    assert kept_of(alone, [alone], "best") == "both"


def test_the_free_room_is_that_of_the_disk_below_a_folder_to_come(tmp_path, monkeypatch):
    def usage(path):
        assert path == tmp_path
        return SimpleNamespace(free=7)

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert free_bytes(tmp_path / "a/b") == 7
