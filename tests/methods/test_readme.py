"""The worked example of the README runs as it stands there."""

import re
from pathlib import Path

import torch
import yaml

from tests.toys.networks import STEP, Toy, batch
from uda_hydra import methods
from uda_hydra.methods.base import check_weights

README = Path(methods.__file__).with_name("README.md")


def test_the_worked_example_trains_and_its_files_agree():
    text = README.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    config, weights = (yaml.safe_load(y) for y in re.findall(r"```yaml\n(.*?)```", text, re.S)[:2])
    names = {"__name__": "uda_hydra.methods.mean_teacher"}
    exec(code, names)
    settings = config["method"]
    name = settings.pop("name")
    module, _, kind = settings.pop("_target_").rpartition(".")
    assert (name, module) == ("mean_teacher", names["__name__"])

    method = names[kind](Toy(), **settings)
    check_weights(method.terms, weights)
    terms = {}
    for update in method.losses(*batch(), STEP):
        sum(update.terms.values()).backward()
        terms |= update.terms
    assert {*terms} == {*method.terms}
    before = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.segmenter.parameters():
            parameter += 1
    method.after_step(STEP)
    for own, old in zip(method.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(own, old + 0.01)
