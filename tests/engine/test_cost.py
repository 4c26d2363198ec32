"""Seconds and peak memory are those of the whole training, however many processes it took."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from tests.processes import run_of
from uda_hydra.engine.cost import Cost
from uda_hydra.engine.device import peak_memory, reset_peak_memory
from uda_hydra.engine.events import Callback

CPU = torch.device("cpu")
PAUSE = 0.4


class Slow(Callback):
    """Takes its time before the first step."""

    def on_start(self, run):
        time.sleep(PAUSE)


class KilledAt(Slow):
    """Leaves the training without a last checkpoint, as after kill -9."""

    def __init__(self, step):
        self.step = step

    def on_log(self, step, values):
        if step == self.step:
            raise KeyboardInterrupt


OVERRIDES = (
    "method=source_only",
    "trainer.steps=4",
    "trainer.save_every=2",
    "trainer.log_every=1",
    "trainer.evaluate_every=4",
)


def test_a_training_that_was_killed_costs_what_all_its_processes_took(make_trainer, tmp_path):
    first = make_trainer(*OVERRIDES, callbacks=[KilledAt(3)])
    first.restore()
    with pytest.raises(KeyboardInterrupt):
        first.fit(run_of(first))
    saved = json.loads((tmp_path / "cost.json").read_text())
    assert saved["seconds"] >= PAUSE
    # A larger process than the one that goes on.
    (tmp_path / "cost.json").write_text(json.dumps(saved | {"peak_memory_gb": 1000.0}))

    second = make_trainer(*OVERRIDES, callbacks=[Slow()])
    second.restore()
    second.fit(run_of(second))
    total = second.cost.total()
    assert total["seconds"] >= saved["seconds"] + PAUSE
    assert total["peak_memory_gb"] == 1000.0


def test_another_device_than_before_is_named(make_trainer, tmp_path):
    first = make_trainer(*OVERRIDES)
    first.fit(run_of(first))
    saved = json.loads((tmp_path / "cost.json").read_text())
    assert make_trainer(*OVERRIDES).restore() == "resuming after step 4"
    (tmp_path / "cost.json").write_text(json.dumps(saved | {"device": "cuda"}))
    assert make_trainer(*OVERRIDES).restore().startswith("resuming after step 4 on cpu, not cuda")


def test_a_training_that_begins_anew_costs_nothing_yet(make_trainer, tmp_path):
    (tmp_path / "cost.json").write_text(json.dumps({"seconds": 1e6, "peak_memory_gb": 1e6}))
    trainer = make_trainer(*OVERRIDES)
    trainer.restore()
    assert trainer.cost.total()["seconds"] < 1e3
    assert trainer.cost.total()["peak_memory_gb"] < 1e3


def test_time_before_the_start_is_not_counted(tmp_path):
    cost = Cost(tmp_path, CPU)
    time.sleep(PAUSE)
    cost.start()
    assert cost.total()["seconds"] < PAUSE


def test_the_peak_of_an_earlier_training_is_forgotten():
    block = np.ones(50_000_000)
    high = peak_memory(CPU)
    del block
    reset_peak_memory(CPU)
    assert peak_memory(CPU) < high - 0.3
