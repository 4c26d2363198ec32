"""What ends a training from within: bad numbers, images, files, and too little memory."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import ROOT, composed
from tests.processes import QUIET, refused, run_of
from tests.test_launch import launch
from uda_hydra.engine.finite import NonFiniteLoss
from uda_hydra.errors import UserError, explain, reported
from uda_hydra.models.discriminators import FcPix2pix
from uda_hydra.models.mit import PatchEmbedding


@pytest.mark.parametrize(
    ("rate", "blamed"), [("1e9", r"step \d: loss/seg is "), ("3e38", "step 1: largest weight is ")]
)
def test_a_number_that_is_none_stops_the_run_and_reaches_no_file(
    make_trainer, tmp_path, rate, blamed
):
    trainer = make_trainer(
        "method=source_only",
        "loss.lambda_seg=1000",
        f"optimizer.lr={rate}",
        "trainer.steps=9",
        "trainer.save_every=1",
    )
    with pytest.raises(NonFiniteLoss, match=blamed) as stopped:
        trainer.fit(run_of(trainer))
    step = int(str(stopped.value).split(":")[0].removeprefix("step "))
    batch = next(
        iter(
            trainer.pair.streams(
                seed=0, steps=range(step - 1, step), batch_size=2, workers=0, pin=False
            )
        )
    )
    for key in (*batch[0].key, *batch[1].key):
        assert key in str(stopped.value)
    last = trainer.checkpoints.last
    assert (f"The last good state is {last}." in str(stopped.value)) == last.exists() == (step > 1)
    for path in tmp_path.glob("*.pt"):
        saved = torch.load(path, weights_only=True)["method"]
        assert all(value.isfinite().all() for value in saved.values())
    state = trainer.checkpoints.load()[0]
    assert (state["step"] if state else 0) == step - 1


def test_a_loss_that_is_no_number_ends_in_one_message(tmp_path, data):
    command = [*QUIET, *data, "optimizer.lr=1e9", "trainer.save_every=1"]
    message = refused(launch(tmp_path, *command))
    assert "loss/seg is nan" in message
    assert "run/source_only/last.pt" in message


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_an_image_that_is_cut_short_is_named_at_its_step(tmp_path, workers):
    command = [*QUIET, "trainer.steps=4", "dataset.cache=false", f"trainer.workers={workers}"]
    assert launch(tmp_path, *command, "trainer.steps=1").returncode == 0
    (victim,) = (tmp_path / "data/streets").glob("v*/GTA5/images/00003.png")
    victim.write_bytes(victim.read_bytes()[:-20])
    # Three steps of two show all six images.
    message = refused(launch(tmp_path, *command, "output=other"))
    assert message.startswith(f"error: {victim.relative_to(tmp_path)} is cut short")
    assert message.endswith("task=check_data finds all such files of a data set.")


def test_only_a_workers_traceback_is_left_out_of_an_error():
    assert explain(UserError("a: b\nc")) == "a: b\nc"
    sent = (
        "Caught UserError in DataLoader worker process 0.\nTraceback ...:\n  File ...\nm.E: a: b\n"
    )
    assert explain(UserError(sent)) == "a: b"


def test_hydras_own_refusals_name_the_remedy():
    foreign = RuntimeError("Invalid plugin 'os.system': not the hydra_plugins package")
    assert "os.system is not a launcher" in explain(foreign)
    unknown = RuntimeError("Unknown plugin class : 'hydra_plugins.x.Y'")
    assert "hydra/launcher=basic" in explain(unknown)
    both = ValueError("Only one of --run, --multirun, --cfg, --info and --shell_completion can be")
    assert "leave out -m" in explain(both)
    large = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
    assert "trainer.batch_size" in explain(large)
    assert explain(ValueError("a fault of ours")) is None


@pytest.mark.parametrize("kind", [UserError, KeyError])
def test_neither_passwords_nor_commands_reach_the_terminal(kind, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit), reported():
        raise kind("http://me:secret@host \033[2J\n\tmaxsquare")
    shown = capsys.readouterr().err
    assert "me:***@host" in shown
    assert "secret" not in shown
    assert "\033" not in shown
    # A KeyError shows its key as Python writes it.
    assert kind is KeyError or "\n    maxsquare" in shown


@pytest.mark.parametrize(
    ("network", "map"),
    [(FcPix2pix(5), (2, 5, 31, 64)), (PatchEmbedding(3, 8, kernel=7, stride=4), (1, 3, 0, 64))],
)
def test_too_small_a_map_names_what_makes_it_so(network, map):
    with pytest.raises(RuntimeError) as error:
        network(torch.zeros(map))
    assert "too small for the network: look at the sizes of dataset" in str(explain(error.value))


def test_too_little_memory_names_keys_that_exist(make_trainer):
    trainer = make_trainer("method=source_only")

    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nMore words.")

    trainer.step = step
    with pytest.raises(UserError, match="Tried to allocate 3 GiB") as stopped:
        trainer.fit(run_of(trainer))
    config = composed("method=source_only")
    for key in (
        "trainer.batch_size",
        "trainer.accumulate",
        "trainer.activation_checkpointing",
        "trainer.precision",
        "dataset.source.size",
        "dataset.target.size",
    ):
        assert key in str(stopped.value)
        assert OmegaConf.select(config, key) is not None


def calls(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Dotted name and keyword arguments of each call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            yield ast.unparse(node.func), words


def test_nothing_that_is_loaded_may_run_code():
    safe = {"torch.load": ("weights_only", "True")}
    safe |= dict.fromkeys(
        ["np.load", "numpy.load", "np.lib.format.open_memmap"], ("allow_pickle", "False")
    )
    faults = []
    for path in [ROOT / "launch.py", *sorted((ROOT / "uda_hydra").rglob("*.py"))]:
        for name, keywords in calls(path):
            key, value = safe.get(name, ("", ""))
            given = keywords.get(key, "False") if key else ""
            if name in ("pickle.load", "pickle.loads", "joblib.load") or given != value:
                faults.append(f"{path.relative_to(ROOT)}: {name}")
    assert not faults


class Malicious:
    """Unpickled without care, it writes a file."""

    def __reduce__(self):
        return Path.write_text, (Path("ran"), "code was run")


def pickled(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [torch.save, pickled])
def test_code_in_an_initial_file_is_not_run(tmp_path, data, save):
    save({"conv1.weight": Malicious()}, tmp_path / "weights.pth")
    message = refused(launch(tmp_path, *QUIET, *data, "init=weights.pth"))
    assert "init=weights.pth: cannot be read as weights" in message
    assert not (tmp_path / "ran").exists()
