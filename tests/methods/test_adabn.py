"""AdaBN: the target's mean and variance by hand, and its task."""

from __future__ import annotations

import pytest
import torch
from hydra import initialize_config_dir

from tests.conftest import CONF, SMALL, composed
from tests.test_laws import run_of
from uda_hydra import tasks
from uda_hydra.errors import UserError
from uda_hydra.files import read_json
from uda_hydra.runs.checks import check_training


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_the_first_norm_gets_the_moments_over_all_target_images(make_trainer, batch):
    """Whatever the size of a batch; the last one of four holds two of the six images."""
    trainer = make_trainer("method=adabn", f"method.batch_size={batch}")
    backbone = trainer.method.segmenter.backbone
    others = {n: p.clone() for n, p in trainer.method.state_dict().items() if "running" not in n}
    trainer.prepare()
    images = torch.stack([trainer.pair.target.image(i) for i in range(6)])
    with torch.no_grad():
        maps = backbone.conv1(trainer.to_device.images(images))
    mean = maps.sum(dim=(0, 2, 3)) / (maps.numel() / maps.shape[1])
    variance = (maps - mean[:, None, None]).square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(backbone.bn1.running_mean, mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(backbone.bn1.running_var, variance, rtol=1e-4, atol=1e-4)
    after = trainer.method.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in others.items())


def test_all_norms_of_one_batch_are_those_of_a_forward_pass_in_train_mode(make_trainer):
    trainer = make_trainer("method=adabn", "method.batch_size=6")
    images = torch.stack([trainer.pair.target.image(i) for i in range(6)])
    norms = {n: m for n, m in trainer.method.named_modules() if hasattr(m, "running_var")}
    for norm in norms.values():
        norm.momentum = 1.0
    with torch.no_grad():
        trainer.method.segmenter(trainer.to_device.images(images))
    seen = {n: (m.running_mean.clone(), m.running_var.clone()) for n, m in norms.items()}
    trainer.prepare()
    assert len(seen) > 5
    for name, (mean, variance) in seen.items():
        torch.testing.assert_close(norms[name].running_mean, mean, rtol=1e-4, atol=1e-5)
        # torch divides by n - 1 there.
        torch.testing.assert_close(norms[name].running_var, variance, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize(
    "model", ["model.batch_norm=still", "model.batch_norm=fixed", "model=vgg16_tiny"]
)
def test_a_network_without_statistics_to_estimate_is_refused_in_one_line(model):
    with pytest.raises(UserError, match=r"^AdaBN needs batch norm .* model\.batch_norm .*row out"):
        check_training(composed("method=adabn", model))


def run_task(given):
    config = composed(*given)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return tasks.run(config, given)


def test_the_task_needs_weights():
    with pytest.raises(UserError, match="task=adabn needs init=FILE"):
        run_task(["task=adabn"])


def test_the_task_writes_weights_and_scores_and_trains_nothing(
    make_trainer, streets, tmp_path, capsys
):
    source = make_trainer("method=source_only", "trainer.steps=1", folder=tmp_path / "source")
    source.fit(run_of(source))
    given = [*SMALL, f"dataset.root={streets}", "task=adabn", "method=caco/contrast"]
    given += [f"init={tmp_path / 'source/last.pt'}", f"output={tmp_path / 'run'}"]
    score = run_task(given)
    result = read_json(tmp_path / "run/adabn/result.json")
    assert (result["miou/last"], result["steps"]) == (score, 1)
    before, after = (
        torch.load(tmp_path / f"{name}/last.pt", weights_only=True)["method"]
        for name in ("source", "run/adabn")
    )
    assert before.keys() == after.keys()
    changed = {name.rpartition(".")[2] for name in before if not before[name].equal(after[name])}
    assert changed == {"running_mean", "running_var"}
    assert "mIoU" in capsys.readouterr().out
