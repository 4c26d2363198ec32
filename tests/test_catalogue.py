"""What --help, task=list and --cfg show is what there is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from tests.conftest import ROOT, choices, composed
from uda_hydra.catalogue import SWEEPS, config_groups, describe_groups, options
from uda_hydra.engine.lock import is_held, locked
from uda_hydra.files import shown_value, write_json
from uda_hydra.runs.layout import mark_folder
from uda_hydra.schema import register
from uda_hydra.studies.plugin import print_space
from uda_hydra.tasks.list import GROUPS, run_state, show_all


def test_every_group_of_the_defaults_is_described_within_80_columns():
    chosen = composed(with_hydra=True).hydra.runtime.choices
    groups = [name for name in chosen if "/" not in name and "@" not in name]
    assert {*config_groups()} == {*groups, "extra"}
    assert max(map(len, describe_groups().splitlines())) < 80


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_listed_with_a_sentence(group):
    found = options(group)
    there = [path.stem for path in SWEEPS.glob("*.yaml")] if group == "sweep" else choices(group)
    own = {name for name in there if not name.startswith("base/")}
    if group in ("augmentation", "sampler"):
        own = {name for name in own if "/" not in name}
    assert {*found} == own
    assert not [name for name, text in found.items() if not text or "launch.py" in text]


def test_the_first_sentence_of_a_file_may_have_several_lines():
    assert options("method")["advent"] == "AdvEnt (Vu et al., CVPR 2019)."
    assert options("sweep")["threshold"].endswith("?")


def test_help_is_ours(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "--help"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert describe_groups().splitlines()[0] in done.stdout
    assert done.stdout.count("python launch.py ") == 6
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_command_line_is_read_before_anything_heavy_is_loaded():
    code = "import sys, launch; print({'torch', 'mlflow', 'optuna', 'cv2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_config_of_a_sweep_begins_with_its_space(capsys):
    register()
    print_space(["sweep=threshold", "method=caco", "seed=4", "--cfg", "job"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# The search space of sweep=threshold:"
    assert lines[1].startswith("#   method.key_threshold=")
    assert all(line.startswith("#") for line in lines)
    print_space(["method=caco", "--cfg", "job"])
    print_space(["sweep=threshold"])
    assert capsys.readouterr().out == ""


def test_studies_and_runs_on_disk_are_listed_with_their_state(tmp_path):
    for name in ("finished", "stopped", "busy"):
        mark_folder(tmp_path / "runs" / name, "training", ["caco"])
    mark_folder(tmp_path / "studies/elsewhere", "study")
    write_json(tmp_path / "runs/finished/result.json", {"miou/last": 0.5})
    (tmp_path / "runs/stopped/caco").mkdir()
    (tmp_path / "runs/stopped/caco/train.log").write_text("2026-01-01 00:00:00  50/200  25 %\n")
    said = io.StringIO()
    with redirect_stdout(said):
        show_all(composed("task=list", f"output='{tmp_path}'"), [])
    lines = [line.strip() for line in said.getvalue().splitlines()]
    assert "advent: AdvEnt (Vu et al., CVPR 2019)." in lines
    assert "runs/finished: finished, mIoU 50.00 %" in lines
    assert "runs/stopped: interrupted, caco 50/200" in lines
    assert "studies/elsewhere: its trials are in the database of hydra.sweeper.storage" in lines


def test_a_run_is_running_while_another_process_holds_it(tmp_path):
    assert not is_held(tmp_path)
    holder = "import sys, pathlib; from uda_hydra.engine.lock import locked\n"
    holder += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    assert run_state(tmp_path) == "running"
    process.communicate("\n")
    assert run_state(tmp_path) == "interrupted"
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0005, "0.0005"),
        (0.000316, "0.000316"),
        (0.123456789, "0.1235"),
        (1.0, "1"),
        (900, "900"),
        (True, "true"),
        (None, "null"),
        ("[256,128]", "[256,128]"),
    ],
)
def test_a_value_is_shown_with_the_digits_it_needs(value, text):
    assert shown_value(value) == text
