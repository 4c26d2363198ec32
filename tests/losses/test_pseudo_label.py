import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE


def test_a_probability_on_the_threshold_is_confident_where_it_is_inclusive():
    probability = torch.tensor([[0.5, 0.9, 0.2], [0.5, 0.1, 0.8]]).view(1, 2, 1, 3)
    for threshold, inclusive, expected in (
        (0.8, False, [IGNORE, 0, IGNORE]),
        (0.8, True, [IGNORE, 0, 1]),
        (0.79, False, [IGNORE, 0, 1]),
    ):
        label = L.confident_label(probability, threshold, inclusive=inclusive)
        assert label.flatten().tolist() == expected


def test_a_pixel_on_its_class_threshold_is_labelled():
    confidence, thresholds = torch.tensor([0.5, 0.9]), torch.tensor([0.9])
    label = L.sure_label(confidence, torch.tensor([0, 0]), thresholds)
    assert label.tolist() == [IGNORE, 0]


def test_either_head_may_be_the_confident_one_and_both_vote():
    main = torch.tensor([[0.6, 0.9, 0.6], [0.4, 0.1, 0.4]]).view(1, 2, 1, 3)
    aux = torch.tensor([[0.6, 0.5, 0.05], [0.4, 0.5, 0.95]]).view(1, 2, 1, 3)
    assert L.guiding_label(main, aux, 0.8).flatten().tolist() == [IGNORE, 0, 1]


def nearest(features, centres, threshold):
    return L.nearest_centre(L.similarity(features, centres), centres, threshold)


def test_nearest_centre_by_hand():
    """Distances to (1, 0) and (0, 1): 2 and sqrt 10 for the first cell, equal for the others."""
    features = torch.tensor([[3.0, 2.0, 0.0], [0.0, 2.0, 0.0]]).view(1, 2, 1, 3)
    centres = torch.eye(2)
    assert nearest(features, centres, None).flatten().tolist() == [0, 0, 0]
    assert nearest(features, centres, 1.16).flatten().tolist() == [0, IGNORE, IGNORE]
    assert nearest(features, centres, 1.17).flatten().tolist() == [IGNORE] * 3
    # Distances of 1/4 and 5/4: a second that is exactly so much farther is far enough.
    assert nearest(torch.tensor([0.75, 0.0]).view(1, 2, 1, 1), centres, 1.0).item() == 0
    # So is one at the same distance, where none is asked for.
    assert nearest(torch.ones(1, 2, 1, 1), torch.ones(2, 2), 0.0).item() == 0


def test_a_missing_centre_is_never_the_nearest():
    # The origin would be nearer than either unit vector.
    features = torch.tensor([0.1, 0.0]).view(1, 2, 1, 1)
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert nearest(features, centres, 0.05).item() == 1
    # One class alone has no rival; none at all gives no label.
    assert nearest(features, centres[:2], 1e6).item() == 1
    assert nearest(features, torch.zeros(2, 2), None).item() == IGNORE


def test_channels_are_divided_by_their_own_norm():
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    assert L.per_channel(features).flatten().tolist() == pytest.approx([0.6, 0.8, 0.0, 0.0])


def test_shares_of_labels_count_every_pixel():
    label = torch.tensor([[[0, 0, 2, IGNORE]]])
    shares = {name: share.item() for name, share in L.label_shares(label, 3).items()}
    expected = {"all": 0.75, "0": 0.5, "1": 0.0, "2": 0.25}
    assert shares == {f"pseudo_share/{name}": share for name, share in expected.items()}
