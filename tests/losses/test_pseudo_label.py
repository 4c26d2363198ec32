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


def test_either_head_may_be_the_confident_one_and_both_vote():
    main = torch.tensor([[0.6, 0.9, 0.6], [0.4, 0.1, 0.4]]).view(1, 2, 1, 3)
    aux = torch.tensor([[0.6, 0.5, 0.05], [0.4, 0.5, 0.95]]).view(1, 2, 1, 3)
    assert L.guiding_label(main, aux, 0.8).flatten().tolist() == [IGNORE, 0, 1]
