import math

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE


def test_distance_is_that_of_a_slow_loop_and_has_its_gradient():
    torch.manual_seed(0)
    feature, prototypes = torch.randn(2, 5, 3, 4, requires_grad=True), torch.randn(6, 5)
    found = L.prototype_distance(feature, prototypes)
    slow = torch.stack([(feature - p[:, None, None]).norm(dim=1) for p in prototypes], dim=1)
    torch.testing.assert_close(found, slow)
    weight = torch.randn_like(slow)
    ours, plain = (torch.autograd.grad((weight * d).sum(), feature)[0] for d in (found, slow))
    torch.testing.assert_close(ours, plain)


def test_on_a_prototype_distance_and_gradient_are_zero():
    # Large and nearly equal lengths cancel in the product.
    feature = torch.full((1, 256, 1, 1), 3.3, requires_grad=True)
    distance = L.prototype_distance(feature, torch.full((1, 256), 3.3))
    assert distance.item() == 0
    assert torch.autograd.grad(distance.sum(), feature)[0].eq(0).all()


def test_rectification_by_hand():
    # Distances 0 and ln 3: weights 3/4 and 1/4. (.3, .7) becomes (.9, .7) / 1.6.
    distance = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    soft = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1)
    found = L.rectified(soft, distance, temperature=1.0)
    assert found.flatten().tolist() == pytest.approx([0.5625, 0.4375])
    assert L.rectified_label(found, min_confidence=0.5).item() == 0
    assert L.rectified_label(found, min_confidence=0.6).item() == IGNORE
    # A temperature of 0 leaves the soft label, and so its class.
    same = L.rectified(soft, distance, temperature=0.0)
    assert L.rectified_label(same, min_confidence=0.0).item() == 1


def test_a_pixel_whose_product_is_zero_for_all_classes_is_ignored():
    soft = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    distance = torch.tensor([0.0, 1e4]).view(1, 2, 1, 1)
    found = L.rectified(soft, distance, temperature=1.0)
    assert found.eq(0).all()
    assert L.rectified_label(found, min_confidence=0.0).item() == IGNORE


def test_structure_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): KL = .75 ln 1.5 + .25 ln .5 over two classes.
    teacher = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    student = torch.zeros(1, 2, 1, 2)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    for seen in ([True, False], [True, True]):
        mask = torch.tensor(seen).view(1, 1, 2)
        loss = L.structure(student, teacher, mask, temperature=1.0)
        assert loss.item() == pytest.approx(kl / 2)
    nothing = torch.zeros(1, 1, 2, dtype=torch.bool)
    assert L.structure(student, teacher, nothing, temperature=1.0) == 0


def test_reverse_cross_entropy_by_hand():
    # Right with 3/4: a quarter of the probability is wrong. The ignored pixel costs nothing.
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    label = torch.tensor([[[0, IGNORE]]])
    loss = L.reverse_cross_entropy(logits, label)
    assert loss.item() == pytest.approx(0.25 * -math.log(1e-4), rel=1e-5)


def test_regularizers_are_least_for_the_uniform_prediction():
    uniform = torch.zeros(1, 4, 2, 2)
    sure = uniform.clone()
    sure[:, 0] = 5.0
    least = {"mrkld": math.log(4), "mrent": -math.log(4), "mrl2": 1 / 4}
    for name, regularizer in L.REGULARIZERS.items():
        assert regularizer(uniform).item() == pytest.approx(least[name])
        assert regularizer(sure) > regularizer(uniform)


def test_distillation_by_hand():
    # t = (3/4, 1/4), p = (1/2, 1/2), over two classes.
    teacher = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)
    student = torch.zeros(1, 2, 1, 1)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert L.distillation(student, teacher).item() == pytest.approx(kl / 2)
    released = 0.75 * math.log(0.75) + 0.25 * math.log(0.25) - 0.5
    found = L.distillation(student, teacher, student="prob").item()
    assert found == pytest.approx(released / 2)


def test_two_looks_are_averaged_where_they_show_the_same():
    logits = torch.tensor([[2.0, -2.0]]).view(1, 1, 1, 2)
    logits = torch.cat([logits, -logits], dim=1)
    probability = L.two_look_probability(logits, logits.flip(3), (1, 2))
    torch.testing.assert_close(probability, logits.softmax(dim=1))
    # The second look is mirrored back: were it not, both columns would be the mean of the two.
    assert probability[0, 0, 0, 0] > 0.9


def test_confidence_and_threshold_are_compared_in_half_precision():
    # 0.9502 is above 0.95 and rounds to the same half as it.
    confidence = torch.tensor([0.95, 0.9502, 0.951])
    probability = torch.stack([confidence, 1 - confidence])[None, :, None]
    found = L.half_precision_label(probability, 0.95)
    assert found.flatten().tolist() == [IGNORE, IGNORE, 0]
    assert L.half_precision_label(probability, None).eq(0).all()
