"""Validation images as an evaluation protocol wants them."""

import pytest
import torch
from layouts import SIZE

from uda_hydra.augment.resize import resize_image, resize_label

in_both_ways = pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])


@in_both_ways
def test_other_sizes_and_another_filter(pair):
    seen = pair.seen_at([(5, 3), (8, 6)], filter="opencv", labels=None)
    scored, *_ = seen.validate(workers=0)
    images = pair.validation.truth
    image = images.read_image(images.samples[0])
    for found, size in zip((scored.image, *scored.others), [(5, 3), (8, 6)], strict=True):
        expected = resize_image(image, size, filter="opencv")
        assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(expected))
    assert scored.label.shape == SIZE
    # Another filter is another image, also in the cache.
    other, *_ = pair.seen_at([(5, 3)], filter="bicubic", labels=None).validate(workers=0)
    assert not torch.equal(other.image, scored.image)
    assert seen.fingerprint() == pair.fingerprint()
    assert seen.source is pair.source


@in_both_ways
def test_labels_at_the_inputs_size(pair):
    scored, *_ = pair.seen_at([(6, 4)], filter="bicubic", labels=(3, 2)).validate(workers=0)
    images = pair.validation.truth
    expected = resize_label(images.read_label(images.samples[0]), (3, 2))
    assert torch.equal(scored.label, torch.from_numpy(expected))


@in_both_ways
def test_nothing_changes_by_default(pair):
    plain, *_ = pair.validate(workers=0)
    same, *_ = pair.seen_at([(6, 4)], filter="bicubic", labels=None).validate(workers=0)
    assert torch.equal(plain.image, same.image) and torch.equal(plain.label, same.label)
    assert len(same.others) == 0
