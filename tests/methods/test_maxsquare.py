import pytest
import torch

import uda_hydra.losses as L
from tests.toys.networks import STEP, Toy, batch
from uda_hydra.methods.maxsquare import MODES, MaxSquare
from uda_hydra.types import IGNORE


def made(*, aux=True, **changes):
    options = {"target_mode": "maxsquare", "iw_ratio": 0.2, "threshold": 0.4}
    return MaxSquare(Toy(aux=aux), **options | changes)


def target_terms(method, count=1):
    _, update = method.losses(*batch(count), STEP)
    return update.terms


def test_modes_are_different_losses_of_the_main_head():
    values = {mode: target_terms(made(target_mode=mode))["target"].item() for mode in MODES}
    assert len({round(value, 6) for value in values.values()}) == len(MODES)
    method, (_, target) = made(), batch()
    logits = L.logits(method.segmenter(target.image), target.image.shape[-2:])["main"]
    assert values["maxsquare"] == L.max_square(logits.softmax(dim=1))
    assert values["entropy"] == L.mean_entropy(logits)


@pytest.mark.parametrize("mode", MODES)
def test_the_value_of_a_batch_is_the_mean_of_its_images(mode):
    # A threshold that no pixel fails: means over pixels weigh all images alike.
    method, (source, target) = made(target_mode=mode, threshold=0.0), batch(count=3)
    whole = target_terms(method, count=3)["target"]
    one = []
    for i in range(3):
        part = source._replace(image=source.image[i : i + 1], label=source.label[i : i + 1])
        _, update = method.losses(part, target._replace(image=target.image[i : i + 1]), STEP)
        one.append(update.terms["target"])
    torch.testing.assert_close(whole, torch.stack(one).mean())


def test_guidance_trains_the_auxiliary_head_alone():
    method = made()
    loss = target_terms(method)["guidance_aux"]
    loss.backward()
    assert method.segmenter.main_head.weight.grad is None
    assert method.segmenter.aux_head.weight.grad.abs().sum() > 0


def test_nobody_confident_means_no_guidance():
    terms = target_terms(made(threshold=1.0, target_mode="hard"))
    assert terms["guidance_aux"].item() == 0
    assert terms["target"].item() == 0


def test_one_head_has_no_guidance():
    assert {*target_terms(made(aux=False))} == {"target"}


def test_hard_labels_are_those_above_the_threshold():
    method, (_, target) = made(target_mode="hard"), batch()
    logits = L.logits(method.segmenter(target.image), target.image.shape[-2:])["main"]
    confidence, label = logits.softmax(dim=1).max(dim=1)
    expected = L.segmentation(logits, label.where(confidence > 0.4, IGNORE))
    torch.testing.assert_close(target_terms(method)["target"], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_mode": "soft"}, r"method\.target_mode must be one of maxsquare, .*, got soft"),
        ({"iw_ratio": 1.5}, r"method\.iw_ratio must be in \[0, 1\]"),
        ({"threshold": -0.1}, r"method\.threshold must be in \[0, 1\]"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
