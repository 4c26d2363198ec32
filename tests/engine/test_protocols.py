"""Each part of a protocol against the plain way, on a network whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hydra.errors import HydraException
from torch import Tensor, nn

from tests.conftest import choices, protocol
from uda_hydra.benchmark.setup import COMMON
from uda_hydra.engine.labels import predict_labels
from uda_hydra.engine.protocols import (
    Look,
    input_sizes,
    label_map,
    look,
    probability_map,
)
from uda_hydra.errors import UserError
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.models.windows import starts
from uda_hydra.types import Normalization, Prediction

SIZE = (23, 31)


class Echo(nn.Module):
    """The image's channels as logits, at half its size, and twice them from the auxiliary head."""

    normalization = Normalization("rgb", scale=1 / 64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    predict = Segmenter.predict

    def __init__(self, *, aux: bool = True) -> None:
        super().__init__()
        self.aux = aux

    def forward(self, image: Tensor) -> Prediction:
        main = image[..., ::2, ::2]
        return Prediction(main=main, aux=-2 * main if self.aux else None, features=main)


def picture(height: int = 12, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def network_input(image: Tensor) -> Tensor:
    return image.float() / 64


def looks_of(chosen, *images: Tensor, network: nn.Module | None = None) -> list[Look]:
    where = {"device": torch.device("cpu"), "bfloat16": False}
    return look((network or Echo()).eval(), images, chosen, **where)


def enlarged(map: Tensor, size: tuple[int, int], corners: bool) -> Tensor:
    return F.interpolate(map, size=size, mode="bilinear", align_corners=corners)


def test_a_scale_that_leaves_no_pixel_is_refused():
    tiny = replace(protocol("common"), scales=[1.0, 0.001])
    with pytest.raises(ValueError, match=r"evaluation\.scales: 0\.001 leaves no pixel of 96x48"):
        input_sizes(tiny, (96, 48))


def test_the_sizes_of_the_presets():
    assert input_sizes(protocol("common"), (1280, 640)) == [(1280, 640)]
    assert input_sizes(protocol("advent"), (1280, 640)) == [(1024, 512)]
    assert input_sizes(protocol("proda"), (1280, 640)) == [(2048, 1024)]
    assert input_sizes(protocol("maxsquare"), (1280, 720)) == [(1280, 720)]
    assert input_sizes(protocol("caco_retrain"), (1, 1)) == [(1024, 512), (1229, 614)]
    # ProCA makes its scales of the normalised input.
    assert input_sizes(protocol("proca"), (1, 1)) == [(1024, 512)]


def test_the_benchmark_scores_as_configured():
    assert protocol("common") == COMMON


def test_the_common_protocol_is_upsampling_and_argmax():
    (one,) = looks_of(COMMON, picture())
    assert torch.equal(one.logits, network_input(picture()[None])[..., ::2, ::2])
    assert torch.equal(label_map([one], SIZE, COMMON), predict_labels(one.logits, SIZE))
    expected = enlarged(one.logits, SIZE, True).softmax(dim=1)
    torch.testing.assert_close(probability_map([one], SIZE, COMMON), expected)


def test_a_mirror_image_is_mirrored_back():
    chosen = protocol("common", "evaluation.mirror=true")
    plain, mirror = looks_of(chosen, picture())
    # Of 16 columns the mirror image shows the network 15, 13 ... where the image shows 0, 2 ...
    assert torch.equal(mirror.logits, network_input(picture()[None])[..., ::2, 1::2])
    expected = (plain.logits.softmax(1) + mirror.logits.softmax(1)) / 2
    torch.testing.assert_close(probability_map([plain, mirror], (6, 8), chosen), expected)


def test_scales_from_the_file_come_with_their_own_images():
    chosen = protocol("common", "evaluation.scales=[1.0,1.5]")
    looks = looks_of(chosen, picture(), picture(18, 24))
    assert [one.size for one in looks] == [(12, 16), (18, 24)]
    expected = sum(enlarged(one.logits, SIZE, True).softmax(dim=1) for one in looks) / 2
    torch.testing.assert_close(probability_map(looks, SIZE, chosen), expected)
    assert torch.equal(label_map(looks, SIZE, chosen), expected.argmax(dim=1)[0].byte())


def test_scales_of_the_input_are_made_of_the_normalised_image():
    chosen = protocol("proca", "evaluation.scales=[0.5,1.3]", "evaluation.mirror=false")
    looks = looks_of(chosen, picture())
    whole = network_input(picture()[None])
    for one, size in zip(looks, [(6, 8), (15, 20)], strict=True):
        assert one.size == size
        assert torch.equal(one.logits, enlarged(whole, size, True)[..., ::2, ::2])


def test_probabilities_may_be_enlarged_instead_of_logits():
    chosen = protocol("common", "evaluation.softmax=before")
    looks = looks_of(chosen, picture())
    expected = enlarged(looks[0].logits.softmax(dim=1), SIZE, True)
    torch.testing.assert_close(probability_map(looks, SIZE, chosen), expected)
    assert torch.equal(label_map(looks, SIZE, chosen), expected.argmax(dim=1)[0].byte())


def test_daformer_goes_by_the_input_size_and_does_not_align_corners():
    chosen = protocol("daformer")
    looks = looks_of(chosen, picture())
    detour = enlarged(enlarged(looks[0].logits, (12, 16), False), SIZE, False)
    assert torch.equal(label_map(looks, SIZE, chosen), detour.argmax(dim=1)[0].byte())
    straight = protocol("daformer", "evaluation.via_input_size=false")
    assert not torch.equal(label_map(looks, SIZE, chosen), label_map(looks, SIZE, straight))


def test_the_auxiliary_head_takes_its_share():
    chosen = protocol("common", "evaluation.aux_weight=0.25")
    (one,) = looks_of(chosen, picture())
    torch.testing.assert_close(one.logits, looks_of(COMMON, picture())[0].logits / 2)
    with pytest.raises(UserError, match=r"evaluation\.aux_weight"):
        looks_of(chosen, picture(), network=Echo(aux=False))


def test_windows_reach_the_edges_and_are_averaged_where_they_overlap():
    assert starts(64, 32, 16) == [0, 16, 32]
    assert starts(28, 20, 10) == [0, 8]
    assert starts(20, 20, 10) == starts(12, 20, 10) == [0]
    chosen = protocol("common", "evaluation.window=[8,6]", "evaluation.window_stride=[4,6]")
    image = network_input(picture())[None]
    total, cover = torch.zeros(1, 3, 12, 16), torch.zeros(12, 16)
    for y in (0, 6):
        for x in (0, 4, 8):
            window = image[..., y : y + 6, x : x + 8]
            total[..., y : y + 6, x : x + 8] += enlarged(window[..., ::2, ::2], (6, 8), True)
            cover[y : y + 6, x : x + 8] += 1
    (found,) = looks_of(chosen, picture())
    torch.testing.assert_close(found.logits, total / cover)
    with pytest.raises(UserError, match=r"window_stride must be at most the window"):
        protocol("common", "evaluation.window=[8,6]", "evaluation.window_stride=[9,6]")


@pytest.mark.parametrize("name", choices("evaluation"))
def test_every_preset_gives_a_label_map(name):
    chosen = protocol(name)
    looks = looks_of(chosen, *[picture() for _ in input_sizes(chosen, (16, 12))])
    assert len(looks) == len(chosen.scales) * (1 + chosen.mirror)
    labels = label_map(looks, SIZE, chosen)
    assert labels.shape == SIZE and labels.dtype == torch.uint8
    probability = probability_map(looks, SIZE, chosen)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(1, *SIZE))
    differing = (probability.argmax(dim=1)[0] != labels).sum()
    assert differing <= 1


@pytest.mark.parametrize(
    "change",
    [
        "size=[0,4]",
        "size=[4]",
        "scales=[]",
        "scales=[-1.0]",
        "aux_weight=-1",
        "filter=box",
        "rescale=file",
        "softmax=never",
        "labels=half",
        "average=some",
        "window=[4]",
        "window=[8,8]",
    ],
)
def test_what_no_protocol_can_be_is_refused(change):
    with pytest.raises(
        (UserError, HydraException), match=rf"evaluation\.{change.partition('=')[0]}"
    ):
        protocol("common", f"evaluation.{change}")
