import pytest
import torch
from torch import nn

import uda_hydra.losses as L
from tests.toys.networks import STEP
from uda_hydra.augment.photometric import shuffle_channels
from uda_hydra.methods.source_only import SourceOnly
from uda_hydra.types import Prediction, Source, Target


class Linear(nn.Module):
    """A 1x1 convolution as a segmenter; remembers what it was shown."""

    def __init__(self, *, aux: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.aux = aux
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        main = self.conv(image)
        return Prediction(main, main / 2 if self.aux else None, main)


def batch(count: int = 1) -> tuple[Source, Target]:
    torch.manual_seed(0)
    source = Source(torch.randn(count, 3, 4, 6), torch.randint(0, 2, (count, 4, 6)))
    return source, Target(torch.randn(count, 3, 4, 6))


def test_both_heads_learn_from_the_source_alone():
    source, target = batch()
    segmenter = Linear()
    (update,) = SourceOnly(segmenter, channel_shuffle="none").losses(source, target, STEP)

    assert update.players == ("segmenter",)
    assert set(update.terms) == set(SourceOnly.terms)
    prediction = segmenter(source.image)
    assert update.terms["seg"] == L.segmentation(prediction.main, source.label)
    assert update.terms["seg_aux"] == L.segmentation(prediction.aux, source.label)
    assert all(image is source.image for image in segmenter.seen)


def test_without_an_auxiliary_head_its_term_is_missing():
    (update,) = SourceOnly(Linear(aux=False), channel_shuffle="none").losses(*batch(), STEP)
    assert set(update.terms) == {"seg"}


def test_channels_by_hand():
    pixel = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    images = pixel.expand(3, -1, -1, -1)
    kinds = ("official", "permute")
    official, permuted = (shuffle_channels(images, [0, 1, 2], kind) for kind in kinds)
    assert official.flatten(1).tolist() == [[10, 20, 30], [30, 30, 30], [20, 30, 20]]
    assert permuted.flatten(1).tolist() == [[10, 20, 30], [30, 10, 20], [20, 30, 10]]


def test_every_image_is_drawn_for_itself_from_the_global_generator():
    source, target = batch(count=300)
    segmenter = Linear()
    method = SourceOnly(segmenter, channel_shuffle="permute")
    for _ in range(2):
        torch.manual_seed(7)
        list(method.losses(source, target, STEP))

    first, second = segmenter.seen
    assert first.equal(second)
    kinds = [shuffle_channels(source.image, [c] * 300, "permute") for c in range(3)]
    counts = [(first == kind).flatten(1).all(dim=1).sum().item() for kind in kinds]
    assert sum(counts) == 300
    assert min(counts) > 70


def test_an_unknown_shuffle_is_refused():
    with pytest.raises(ValueError, match=r"method\.channel_shuffle .* got random"):
        SourceOnly(Linear(), channel_shuffle="random")
