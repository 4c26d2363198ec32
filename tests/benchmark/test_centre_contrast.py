import torch

from uda_hydra.benchmark import class_centres
from uda_hydra.benchmark.timing import Setting


def test_both_formulations_agree_and_are_compared(tmp_path):
    setting = Setting(torch.device("cpu"), threads=1, folder=tmp_path, quick=True)
    rows = class_centres.compare(setting)
    assert [row.meaning for row in rows] == ["plain / ours"] * 3 + ["ours / plain"]
    assert all(row.ours > 0 and row.plain > 0 for row in rows)
