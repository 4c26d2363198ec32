import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.types import IGNORE

SHARP = {"temperature": 0.07, "base_temperature": 0.07}


def literal(query, label, keys, weight, *, temperature, base_temperature, mean="keys") -> Tensor:
    """The sum of the paper, one cell and one key after the other."""
    keys = F.normalize(keys, dim=-1)
    slots = [(c, j) for c in range(len(keys)) for j in range(keys.shape[1]) if weight[c, j] > 0]
    cells = F.normalize(query, dim=1).movedim(1, -1).flatten(0, -2)
    total = query.new_zeros(())
    for cell, category in zip(cells, label.flatten().tolist(), strict=True):
        score = {(c, j): cell @ keys[c, j] / temperature for c, j in slots}
        everything = sum((weight[s] * score[s].exp() for s in slots), query.new_zeros(()))
        own = [s for s in slots if s[0] == category]
        part = sum(score[s] + weight[s].log() - everything.log() for s in own)
        total = total + part / (len(slots) if mean == "keys" else max(len(own), 1))
    return -(temperature / base_temperature) * total / len(cells)


def problem(filled: list[list[int]], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, label (some ignored), keys and weights of a dictionary with these slots filled."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.tensor(filled)
    classes, length = occupied.shape
    query = torch.randn(2, 6, 3, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(0, classes, (2, 3, 4), generator=generator)
    label[0, 0, :2] = IGNORE
    keys = torch.randn(classes, length, 6, generator=generator, dtype=torch.float64)
    weight = 0.9 + 0.2 * torch.rand(classes, length, generator=generator, dtype=torch.float64)
    return query.requires_grad_(), label, keys * occupied[..., None], weight * occupied


DICTIONARIES = {
    "full": [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "partial": [[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 0]],
    "one key": [[0, 0], [0, 1], [0, 0]],
    "one class": [[1, 1, 1]],
}


@pytest.mark.parametrize("mean", ["keys", "positives"])
@pytest.mark.parametrize("name", DICTIONARIES)
def test_matches_the_literal_sum_and_its_gradient(name, mean):
    query, label, keys, weight = problem(DICTIONARIES[name])
    settings = {"temperature": 0.2, "base_temperature": 0.1, "mean": mean}

    fast = L.category_contrast(query, label, keys, weight, **settings)
    slow = literal(query, label, keys, weight, **settings)

    torch.testing.assert_close(fast, slow)
    gradients = (torch.autograd.grad(loss, query)[0] for loss in (fast, slow))
    torch.testing.assert_close(*gradients)


def test_hand_worked_value():
    # One cell, along its own key and across the other: scores 1/t and 0.
    query = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    keys = torch.tensor([[[5.0, 0.0]], [[0.0, 7.0]]])
    loss = L.category_contrast(
        query,
        torch.zeros(1, 1, 1, dtype=torch.long),
        keys,
        torch.ones(2, 1),
        temperature=0.5,
        base_temperature=0.25,
    )
    assert loss.item() == pytest.approx(2 * math.log(1 + math.exp(-2)) / 2)


def test_an_empty_dictionary_gives_zero_and_zero_gradient():
    query, label, keys, weight = problem([[0, 0], [0, 0]])
    loss = L.category_contrast(query, label, keys, weight, **SHARP)
    loss.backward()
    assert loss.item() == 0
    assert query.grad.eq(0).all()


def test_ignored_cells_count_but_pull_nothing():
    query, label, keys, weight = problem(DICTIONARIES["full"])
    label[:, 1:] = IGNORE
    L.category_contrast(query, label, keys, weight, **SHARP).backward()
    assert query.grad[:, :, 1:].eq(0).all()
    assert query.grad[0, :, 0, 2:].abs().sum() > 0


def test_how_many_empty_slots_there_are_does_not_matter():
    query, label, keys, weight = problem(DICTIONARIES["partial"])
    before = L.category_contrast(query, label, keys, weight, **SHARP)
    assert before.isfinite()
    shorter = keys[:, :2].contiguous(), weight[:, :2]
    assert L.category_contrast(query, label, *shorter, **SHARP) != before

    padded = F.pad(keys, (0, 0, 0, 4)), F.pad(weight, (0, 4))
    torch.testing.assert_close(L.category_contrast(query, label, *padded, **SHARP), before)


def test_a_full_dictionary_is_never_below_zero_and_scale_free():
    query, label, keys, weight = problem(DICTIONARIES["full"])
    loss = L.category_contrast(query, label, keys, weight, **SHARP)
    assert loss > 0
    rescaled = L.category_contrast(100 * query, label, 0.01 * keys, weight, **SHARP)
    torch.testing.assert_close(rescaled, loss)


def test_keys_are_constant():
    query, label, keys, weight = problem(DICTIONARIES["full"])
    keys.requires_grad_()
    loss = L.category_contrast(query, label, keys, weight, **SHARP)
    assert torch.autograd.grad(loss, keys, allow_unused=True) == (None,)


def test_a_zero_query_has_a_finite_loss():
    query, label, keys, weight = problem(DICTIONARIES["full"])
    with torch.no_grad():
        query[0, :, 1, 1] = 0
    assert L.category_contrast(query, label, keys, weight, **SHARP).isfinite()


def test_autocast_does_not_lower_the_precision():
    query, label, keys, weight = (x.detach() for x in problem(DICTIONARIES["full"]))
    query, keys, weight = query.float(), keys.float(), weight.float()
    plain = L.category_contrast(query, label, keys, weight, **SHARP)
    with torch.autocast("cpu", torch.bfloat16):
        assert L.category_contrast(query, label, keys, weight, **SHARP).equal(plain)


def centre_terms(features, label, centres, temperature):
    """CFContra's loss as its release writes it: exponentials around the mean of all scores."""
    rows = F.normalize(features.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    scores = rows @ centres.T / temperature
    exponential = (scores - scores.mean()).exp()
    q = exponential / (exponential.sum(dim=1, keepdim=True) + 1e-6)
    known = label.flatten() < len(centres)
    own = q[known].gather(1, label.flatten()[known][:, None])
    return -(own + 1e-6).log().mean()


def centre_problem():
    torch.manual_seed(0)
    features = torch.randn(2, 6, 3, 4, requires_grad=True)
    label = torch.randint(0, 5, (2, 3, 4))
    label[0, 0] = IGNORE
    return features, label, F.normalize(torch.randn(5, 6), dim=1)


def cosines(features, centres):
    return L.similarity(features, centres).cosine


def test_similarity_and_its_gradient_are_those_of_normalised_features():
    features, _, centres = centre_problem()
    features = features.detach().double().requires_grad_()
    cosine, length = L.similarity(features, centres)
    plain = F.normalize(features, dim=1)[:, None] * centres[None, :, :, None, None].double()
    torch.testing.assert_close(cosine, plain.sum(dim=2))
    torch.testing.assert_close(length, features.norm(dim=1, keepdim=True))
    assert not length.requires_grad
    weight = torch.arange(cosine.numel()).view_as(cosine) / 10
    one, other = (torch.autograd.grad((weight * c).sum(), features) for c in (cosine, plain.sum(2)))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_centre_contrast_is_the_releases(temperature):
    features, label, centres = centre_problem()
    ours = L.centre_contrast(cosines(features, centres), label, temperature)
    plain = centre_terms(features, label, centres, temperature)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    one, other = (torch.autograd.grad(loss, features)[0] for loss in (ours, plain))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_pixel_far_from_all_centres_is_damped_as_in_the_release():
    """All exponentials of the last one are small beside the 1e-6."""
    x = torch.tensor([1.0, 1, 1, 1, 1, 1, -1])
    y = torch.tensor([0, 0.1, 0.2, 0, -0.1, 0.3, 0.05])
    features, label = torch.stack([x, y]).view(1, 2, 1, 7), torch.tensor([[[0, 1, 2, 0, 1, 2, 0]]])
    centres = F.normalize(torch.tensor([[1, 0.1], [1, -0.1], [1, 0.3]]), dim=1)
    ours = L.centre_contrast(cosines(features, centres), label, 0.07)
    torch.testing.assert_close(ours, centre_terms(features, label, centres, 0.07))
    assert ours > 2 * L.centre_contrast(cosines(features, centres), label, 0.07, stable=True)


def test_centre_contrast_is_finite_where_the_release_overflows():
    features, label, centres = centre_problem()
    for temperature in (0.001, 0.02):
        loss = L.centre_contrast(cosines(features, centres), label, temperature)
        (gradient,) = torch.autograd.grad(loss, features)
        assert 0 <= loss <= 13.82 and gradient.isfinite().all()


def test_stable_centre_contrast_is_cross_entropy_and_equal_cosines_are_chance():
    features, label, centres = centre_problem()
    cosine = cosines(features, centres)
    ours = L.centre_contrast(cosine, label, 0.07, stable=True)
    expected = F.cross_entropy(cosine / 0.07, label, ignore_index=IGNORE)
    torch.testing.assert_close(ours, expected)
    for stable in (True, False):
        chance = L.centre_contrast(torch.zeros(1, 5, 3, 4), label[:1], 0.07, stable=stable)
        assert chance.item() == pytest.approx(math.log(5), rel=1e-5)


def test_centre_contrast_without_labels_is_zero():
    features, label, centres = centre_problem()
    loss = L.centre_contrast(cosines(features, centres), torch.full_like(label, IGNORE), 0.07)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss == 0 and (gradient == 0).all()
