"""Random views of training images: repeatable, of the right pixels, never for validation."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from tests.conftest import SMALL, composed
from uda_hydra import build
from uda_hydra.augment.guided import VariedCrop
from uda_hydra.augment.resize import resize_label
from uda_hydra.augment.training import AS_THEY_ARE
from uda_hydra.augment.view import extend, random_crop, random_scale
from uda_hydra.augment.warp import warp
from uda_hydra.build import pair_opener
from uda_hydra.data.streams import seed_of
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_training
from uda_hydra.runs.identity import identity
from uda_hydra.runs.stages import Stage
from uda_hydra.types import Mirror, Resize, View

NONE = AS_THEY_ARE
MAXSQUARE = replace(NONE, mirror=0.5, blur=0.5)
SCALED = replace(MAXSQUARE, scale_range=[0.5, 2.0])


in_both_ways = pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])


def batches(pair, steps, *, seed=0, batch_size=2, workers=0):
    kind = {"seed": seed, "batch_size": batch_size, "workers": workers, "pin": False}
    return list(pair.streams(steps=steps, **kind))


def assert_same(one, other):
    for (source, target), (source2, target2) in zip(one, other, strict=True):
        assert source.key == source2.key and target.key == target2.key
        assert torch.equal(source.image, source2.image)
        assert torch.equal(source.label, source2.label)
        assert torch.equal(target.image, target2.image)


@in_both_ways
@pytest.mark.parametrize("chosen", [MAXSQUARE, SCALED], ids=["whole", "scaled"])
@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_the_same_with_any_number_of_workers_and_any_start(pair, chosen, workers):
    varied = pair.augmented(chosen)
    whole = batches(varied, range(8))
    assert_same(whole[3:], batches(varied, range(3, 8), workers=workers))


def test_every_place_of_every_step_and_seed_has_a_view_of_its_own(pair):
    varied = pair.augmented(SCALED)
    views = {}
    for seed in range(2):
        for step, (source, target) in enumerate(batches(varied, range(10), seed=seed)):
            for place, name in enumerate(source.key):
                view = source.image[place].numpy().tobytes()
                views.setdefault(("source", name), {})[view] = (seed, step, place)
            for place, name in enumerate(target.key):
                view = target.image[place].numpy().tobytes()
                views.setdefault(("target", name), {})[view] = (seed, step, place)
    # Each image is shown eight times or more, and hardly ever twice alike.
    assert min(len(seen) for seen in views.values()) > 4


def test_no_augmentation_is_no_change(pair):
    for source, target in batches(pair, range(4)):
        for domain, batch in ((pair.source, source), (pair.target, target)):
            for image, key, view in zip(batch.image, batch.key, batch.view, strict=True):
                assert torch.equal(image, domain.image(domain.keys.index(key)))
                assert view == View(domain.size)


def test_a_mirror_turns_image_and_label_of_the_source_and_the_target_together(pair):
    varied = pair.augmented(replace(NONE, mirror=1.0))
    turned = zip(batches(varied, range(4)), batches(pair, range(4)), strict=True)
    for (source, target), (plain, plain_target) in turned:
        assert torch.equal(source.image, plain.image.flip(3))
        assert torch.equal(source.label, plain.label.flip(2))
        assert torch.equal(target.image, plain_target.image.flip(3))


def test_a_blur_leaves_the_label(pair):
    varied = pair.augmented(replace(NONE, blur=1.0))
    for (source, _), (plain, _) in zip(
        batches(varied, range(4)), batches(pair, range(4)), strict=True
    ):
        assert torch.equal(source.label, plain.label)
        assert not torch.equal(source.image, plain.image)


def test_half_of_the_images_are_mirrored(pair):
    varied = pair.augmented(replace(NONE, mirror=0.5))
    seen = zip(batches(varied, range(200)), batches(pair, range(200)), strict=True)
    turned = [not torch.equal(a.image[i], b.image[i]) for (a, _), (b, _) in seen for i in range(2)]
    # Three standard deviations of 400 throws.
    assert abs(np.mean(turned) - 0.5) < 3 * 0.5 / 400**0.5


@in_both_ways
@pytest.mark.parametrize(("base", "meant"), [([6, 8], (6, 8)), (None, (4, 5))])
def test_scale_and_crop_take_the_file_and_keep_nothing(pair, tmp_path, base, meant):
    varied = pair.augmented(replace(NONE, scale_range=[0.5, 2.0], scale_base=base))
    ((source, target),) = batches(varied, range(3, 4), batch_size=1)
    images = pair.source.images
    sample = images.samples[pair.source.keys.index(source.key[0])]
    random = Random(seed_of(0, "view", "source", 3, 0))
    random.random()  # the mirror's draw comes first
    image = torch.from_numpy(images.read_image(sample)).permute(2, 0, 1)
    size = (image.shape[2], image.shape[1])
    resize = Resize(*random_scale(size, meant, [0.5, 2.0], random))
    view = random_crop(View(size, (resize,)), (4, 5), random)
    assert source.view == (view,)
    assert torch.equal(source.image[0], warp(image, view, kind="image"))
    label = torch.from_numpy(images.read_label(sample))
    assert torch.equal(source.label[0], warp(label, view, kind="label"))
    assert target.image.shape == (1, 3, 4, 6)
    # Validation images alone are worth keeping then.
    assert not [path for path in tmp_path.glob("cache/*/*") if "GTA5" in str(path)]


@pytest.mark.parametrize("cached", [True])
def test_a_source_that_is_shown_as_it_is_comes_from_the_cache(pair, decoded):
    chosen = {
        "base": 1.0,
        "scale_range": [1.0, 1.5],
        "crop": [3, 2],
        "min_values": 0,
        "mirror": 0.0,
    }
    off = dict.fromkeys(("recolour", "plain", "whole"), False)
    varied = pair.augmented(VariedCrop(**chosen, **off))
    varied.prepare()
    decoded.clear()
    ((source, target),) = batches(varied, range(1), batch_size=1)
    assert decoded == [f"{target.key[0]}_leftImg8bit.png"]
    assert torch.equal(source.image, batches(pair, range(1), batch_size=1)[0][0].image)


@in_both_ways
def test_validation_sees_none_of_it(pair):
    plain = [scored.image for scored in pair.validate(workers=0)]
    varied = [scored.image for scored in pair.augmented(SCALED).validate(workers=0)]
    assert all(torch.equal(a, b) for a, b in zip(plain, varied, strict=True))
    assert pair.augmented(SCALED).fingerprint() == pair.fingerprint()


@pytest.mark.parametrize(("shape", "size"), [((526, 957), (640, 360)), ((512, 1024), (640, 360))])
def test_mirroring_what_is_resized_is_mirroring_first(shape, size):
    """The release mirrors first, the cache resizes first; 957 to 640 is GTA5's ratio."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    label = random.integers(0, 19, shape, dtype=np.uint8)
    whole = View((shape[1], shape[0]))
    orders = (Mirror(), Resize(*size)), (Resize(*size), Mirror())
    views = [extend(whole, *order) for order in orders]
    image = torch.from_numpy(image).permute(2, 0, 1)
    one, other = (warp(image, view, kind="image") for view in views)
    assert torch.equal(one, other)
    first, last = (warp(torch.from_numpy(label), view, kind="label").numpy() for view in views)
    # A centre that lies between two pixels of the file is given to the right one of them.
    middle = (np.arange(size[0]) + 0.5) * shape[1] / size[0]
    between = middle == middle.round()
    assert between.mean() == (0.0 if shape[1] == 957 else 0.2)
    clear = ~between[::-1]
    assert np.array_equal(first[:, clear], last[:, clear])
    assert np.array_equal(last, resize_label(label, size)[:, ::-1])


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("augmentation.mirror=1.5", "augmentation.mirror must be a probability"),
        ("augmentation.blur=-0.1", "augmentation.blur must be a probability"),
        ("augmentation.scale_range=[2.0,0.5]", "augmentation.scale_range must be"),
        ("augmentation.scale_range=[0.5]", "augmentation.scale_range must be"),
        ("augmentation.scale_base=[0,512]", "augmentation.scale_base must be"),
        ("augmentation=ratio_crop augmentation.max_share=2.0", "max_share must be a share, 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_key(override, complaint):
    with pytest.raises(UserError, match=complaint):
        check_training(composed(*override.split()))


def test_the_preset_is_the_release_and_belongs_to_the_identity():
    chosen = composed("augmentation=maxsquare")
    assert build.build(chosen.augmentation, "augmentation") == MAXSQUARE
    assert build.build(composed().augmentation, "augmentation") == AS_THEY_ARE
    assert identity(chosen)["augmentation.mirror"] == 0.5
    assert identity(composed())["augmentation.mirror"] == 0.0


def test_a_training_reads_what_the_config_says(make_trainer):
    trainer = make_trainer(
        "method=source_only", "augmentation=maxsquare", "augmentation.mirror=0.3"
    )
    assert trainer.pair.augmentation == replace(MAXSQUARE, mirror=0.3)
    plain = make_trainer("method=source_only")
    assert plain.pair.augmentation == AS_THEY_ARE


def test_stages_of_one_data_set_see_their_own_views(streets):
    open_pair, root = pair_opener(), f"dataset.root={streets}"
    chosen = [("augmentation=none",), ("augmentation=maxsquare",), ("augmentation=none", "seed=1")]
    stages = [Stage("any", composed(*SMALL, root, *some)) for some in chosen]
    plain, varied, again = (open_pair(stage.config) for stage in stages)
    assert plain is again
    assert (plain.augmentation, varied.augmentation) == (AS_THEY_ARE, MAXSQUARE)
