"""A network at two scales: what it sees, and what it gives back."""

from __future__ import annotations

import pytest
import torch

from uda_hydra.errors import UserError
from uda_hydra.models import hrda
from uda_hydra.models.hrda import cover, draw_box, hrda_mix_transformer, places
from uda_hydra.types import Box


def made(**changes):
    torch.manual_seed(0)
    options = {"window": [32, 32], "size": "tiny", "head_channels": 8, "drop_path": 0.0}
    return hrda_mix_transformer(num_classes=3, dropout=0.0, **options | changes)


def test_a_window_is_drawn_for_the_student_and_windows_cover_the_image_for_the_teacher():
    network, image = made().train(), torch.randn(2, 3, 64, 64)
    student = network(image)
    assert student.main.shape == (2, 3, 16, 16)
    assert student.features.shape == (2, 256, 1, 1)
    logits, (top, bottom, left, right) = student.detail
    assert logits.shape == (2, 3, 8, 8)
    assert (bottom - top, right - left) == (32, 32)
    with torch.no_grad():
        teacher = network(image)
    assert teacher.detail is None
    assert teacher.main.shape == (2, 3, 16, 16)


def test_sizes_where_the_scales_do_not_meet_are_refused():
    with pytest.raises(UserError, match=r"multiples of 8 pixels, not of 60x64: .*crop="):
        made()(torch.randn(1, 3, 64, 60))


def test_every_part_learns_from_one_prediction():
    network = made().train()
    prediction = network(torch.randn(2, 3, 64, 64))
    prediction.main.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without
    heads = network.parameter_groups()[1]["params"]
    assert {*network.scale_attention.parameters()} <= {*heads}


def test_windows_begin_at_multiples_of_eight_and_miss_the_far_edge():
    assert places(512, 8) == 64
    assert places(0, 8) == 1
    torch.manual_seed(0)
    boxes = [draw_box((64, 96), (64, 32)) for _ in range(300)]
    assert {box.top for box in boxes} == {0, 8, 16, 24}
    assert {(box.bottom - box.top, box.right - box.left) for box in boxes} == {(32, 64)}
    # As large as the image: there is nothing to draw.
    state = torch.get_rng_state()
    assert draw_box((32, 64), (64, 32)) == Box(0, 32, 0, 64)
    assert torch.equal(state, torch.get_rng_state())


def test_the_last_window_is_moved_back_to_the_edge():
    boxes = cover((96, 136), (64, 64))
    assert len(boxes) == 2 * 4
    assert boxes[-1] == Box(32, 96, 72, 136)


def test_a_window_that_fits_no_grid_is_refused():
    with pytest.raises(ValueError, match=r"model\.window"):
        made(window=[30, 32])


def test_outside_the_window_the_context_decides_alone(monkeypatch):
    monkeypatch.setattr(hrda, "draw_box", lambda size, window: Box(0, 32, 0, 32))
    network, image = made().eval(), torch.randn(1, 3, 64, 64)
    changed = image.clone()
    # Detail inside of the window only: half-size images stay as they are.
    checker = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32)
    changed += 5 * checker
    assert torch.allclose(network.context(image), network.context(changed), atol=1e-5)
    one, other = (network(x).main for x in (image, changed))
    moved = (one - other).abs().amax(dim=(0, 1)) > 1e-5
    assert moved[:8, :8].any()
    # Enlarging bleeds by one cell.
    assert not moved[9:].any() and not moved[:, 9:].any()
