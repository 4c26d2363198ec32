"""CFContra's stages: centres made once, memories, options, and what is logged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import uda_hydra.losses as L
from tests.methods.test_proca import convert
from tests.parity.cfcontra_methods import cfcontra
from tests.toys.networks import STEP, Toy, batch
from uda_hydra.errors import UserError
from uda_hydra.memory import class_centres, fill_missing
from uda_hydra.methods.cfcontra import margin_at
from uda_hydra.types import Step, shrink_label


class Network(Toy):
    feature_channels = 4
    projector = None


def made(*, aux=True, **options):
    method = cfcontra(Network(aux=aux), **options)
    torch.manual_seed(2)
    for memory in (method.source_memory, method.target_memory):
        memory.centres.copy_(F.normalize(torch.randn(3, 4), dim=1))
    return method


def terms_of(method, step=STEP, count=1):
    found = {}
    for update in method.losses(*batch(count), step):
        found |= update.terms
    return found


def test_contrasts_are_those_of_the_memories_before_the_step():
    method, (source, target) = made(margin=0.0, stable=True), batch()
    own, other = method.source_memory.centres.clone(), method.target_memory.centres.clone()
    terms = terms_of(method)
    seen = method.segmenter(source.image).features
    label = shrink_label(source.label, seen.shape[-2:])
    for name, memory in (("contrast_s", own), ("contrast_s2t", other)):
        cosine = F.cosine_similarity(seen[:, None], memory[None, :, :, None, None], dim=2)
        expected = F.cross_entropy(cosine / 0.07, label)
        torch.testing.assert_close(terms[name], expected, rtol=1e-4, atol=1e-4)
    seen = method.segmenter(target.image).features
    distance = (seen[:, None] - own[None, :, :, None, None]).norm(dim=2)
    cosine = F.cosine_similarity(seen[:, None], own[None, :, :, None, None], dim=2)
    expected = F.cross_entropy(cosine / 0.07, distance.argmin(dim=1))
    torch.testing.assert_close(terms["contrast_t2s"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cross_update", [True, False])
def test_memories_follow_after_the_step(cross_update):
    method, (source, target) = made(margin=0.0, cross_update=cross_update), batch()
    before = method.source_memory.centres.clone()
    features = method.segmenter(target.image).features
    pseudo_label = L.nearest_centre(L.similarity(features, before), before, None)
    found = [class_centres(features, pseudo_label, 3)] if cross_update else []
    features = method.segmenter(source.image).features
    found.append(class_centres(features, shrink_label(source.label, features.shape[-2:]), 3))
    terms_of(method)
    for centres in found:
        moved = F.normalize(0.9 * before + 0.1 * centres, dim=1)
        before = moved.where(centres.any(dim=1, keepdim=True), before)
    torch.testing.assert_close(method.source_memory.centres, before)


def test_the_source_goes_backward_before_the_target_is_seen():
    """Unless the gradient is the release's, which needs both."""
    assert [{*u.terms} for u in made(grad_memory="forward").losses(*batch(), STEP)] == [
        {"seg", "seg_aux", "contrast_s", "contrast_s2t"},
        {"ent", "ent_aux", "contrast_t", "contrast_t2s"},
    ]
    (update,) = made(grad_memory="backward").losses(*batch(), STEP)
    assert {*update.terms} == {*made().terms}
    assert {*terms_of(made(aux=False))} == {*made().terms} - {"seg_aux", "ent_aux"}


@pytest.mark.parametrize("grad_memory", ["forward", "backward"])
def test_without_any_confident_pixel_the_target_contrasts_are_zero(grad_memory):
    method = made(margin=1e6, grad_memory=grad_memory)
    before = method.target_memory.centres.clone()
    terms = terms_of(method)
    assert terms["contrast_t"] == 0 and terms["contrast_t2s"] == 0
    terms["contrast_t"].backward(retain_graph=True)
    assert all((p.grad is None) or (p.grad == 0).all() for p in method.segmenter.parameters())
    assert method.monitor()["pseudo_share/all"] == 0
    # The source's centres still reach both memories.
    assert not method.target_memory.centres.equal(before)
    assert terms_of(made(margin=1e6, reject=False))["contrast_t"] > 0


def test_what_is_logged_says_how_far_from_chance_and_which_pixels_have_labels():
    method = made(margin=0.01)
    terms = terms_of(method)
    shown = method.monitor()
    for name in ("contrast_s", "contrast_t", "contrast_s2t", "contrast_t2s"):
        assert shown[f"from_chance/{name}"].item() == pytest.approx(
            terms[name].item() - math.log(3)
        )
    shares = [shown[f"pseudo_share/{c}"].item() for c in range(3)]
    assert shown["pseudo_share/all"].item() == pytest.approx(sum(shares))
    assert 0 < sum(shares) < 1


def test_labels_may_be_those_of_the_main_head():
    method = made(pseudo_label="argmax", margin=1e6)
    terms_of(method)
    assert method.monitor()["pseudo_share/all"] == 1


def test_the_margin_decays_with_the_step():
    assert margin_at(0, base=0.2, power=2.0, horizon=10) == pytest.approx(0.2)
    assert margin_at(5, base=0.2, power=2.0, horizon=10) == pytest.approx(0.05)
    assert margin_at(10, base=0.2, power=2.0, horizon=10) == 0
    assert margin_at(11, base=0.2, power=2.0, horizon=10) == 0
    assert margin_at(11, base=0.2, power=0.0, horizon=10) == 0.2
    strict = made(margin=1e6, margin_schedule="poly", margin_horizon=10)
    assert terms_of(strict, Step(0, 0.0))["contrast_t"] == 0
    assert terms_of(strict, Step(10, 1.0))["contrast_t"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"method\.temperature must be positive"),
        ({"memory_momentum": 1.5}, r"method\.memory_momentum must be in"),
        ({"pseudo_label": "k-means"}, r"method\.pseudo_label must be one of centre, argmax"),
        ({"grad_memory": "both"}, r"method\.grad_memory must be one of"),
        ({"margin": -1.0}, r"method\.margin must be 0 or more"),
        ({"margin_schedule": "cosine"}, r"method\.margin_schedule must be one of"),
        ({"source_images": 0}, r"method\.source_images must be 1 or more"),
        (
            {"centres": ["a.npy", "b.npy", "c.npy"]},
            r"method\.centres must be null, one last\.pt or the files \[source, target\]",
        ),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


def centres_of(trainer):
    return [m.centres for m in (trainer.method.source_memory, trainer.method.target_memory)]


@pytest.fixture
def extracted(make_trainer, tmp_path):
    """A trainer of the stage that makes centres, prepared and saved."""
    trainer = make_trainer("method=cfcontra/centres", "method.margin=0.0", folder=tmp_path / "made")
    trainer.prepare()
    trainer.save()
    return trainer


def test_contrast_begins_with_the_centres_of_its_stage(make_trainer, extracted, tmp_path):
    first = centres_of(extracted)
    assert all((centres.norm(dim=1) - 1).abs().lt(1e-5).sum() > 1 for centres in first)
    file = tmp_path / "made/last.pt"
    second = make_trainer(
        "method=cfcontra/contrast", f"method.centres={file}", folder=tmp_path / "a"
    )
    second.prepare()
    assert all(map(torch.equal, first, centres_of(second)))
    assert not (tmp_path / "a/source_means").exists()
    # The same when they are made where they are needed, and from arrays as the release has them.
    third = make_trainer("method=cfcontra/contrast", "method.margin=0.0", folder=tmp_path / "b")
    third.prepare()
    assert all(map(torch.equal, first, centres_of(third)))


def test_the_releases_centres_are_read_and_written(make_trainer, extracted, tmp_path):
    official, ours, again = [], [], []
    for domain, centres in zip(("source", "target"), centres_of(extracted), strict=True):
        official.append(tmp_path / f"{domain}.npy")
        ours.append(tmp_path / f"{domain}.safetensors")
        again.append(tmp_path / f"{domain}_again.npy")
        layout = f"layout=cfcontra_centres_{domain}"
        convert(tmp_path / "made/last.pt", official[-1], layout)
        convert(official[-1], ours[-1])
        convert(ours[-1], again[-1], layout)
        array = np.load(official[-1], allow_pickle=False)
        assert array.dtype == np.float32
        assert np.array_equal(array, centres.numpy())
        assert again[-1].read_bytes() == official[-1].read_bytes()
    # The release's own arrays may be of another precision.
    np.save(official[0], np.load(official[0]).astype(np.float64))
    for number, files in enumerate((official, ours)):
        listed = ",".join(map(str, files))
        folder = tmp_path / str(number)
        reading = make_trainer(
            "method=cfcontra/contrast", f"method.centres=[{listed}]", folder=folder
        )
        reading.prepare()
        assert all(map(torch.equal, centres_of(extracted), centres_of(reading)))


def test_what_is_lost_of_the_centres_is_made_again(make_trainer, extracted, tmp_path):
    first = [centres.clone() for centres in centres_of(extracted)]
    for name in ("source_means", "target_means", "target_centres"):
        items = sorted((tmp_path / "made" / name).rglob("*.item"))
        items[0].write_bytes(items[0].read_bytes()[:-1] + b"?")
    sorted((tmp_path / "made/source_centres").rglob("*.item"))[0].unlink()
    again = make_trainer("method=cfcontra/centres", "method.margin=0.0", folder=tmp_path / "made")
    again.prepare()
    assert all(map(torch.equal, first, centres_of(again)))


def test_few_images_are_spread_over_the_data(make_trainer, tmp_path):
    trainer = make_trainer(
        "method=cfcontra/centres", "method.source_images=2", "method.target_images=3"
    )
    trainer.prepare()
    assert len([*(tmp_path / "source_means").rglob("*.item")]) == 2
    assert len([*(tmp_path / "target_means").rglob("*.item")]) == 3


def test_buffers_of_batch_norm_are_as_before(make_trainer):
    trainer = make_trainer("method=cfcontra/centres")
    before = {n: b.clone() for n, b in trainer.method.segmenter.named_buffers()}
    trainer.prepare()
    assert all(before[n].equal(b) for n, b in trainer.method.segmenter.named_buffers())


def test_a_class_without_a_centre_is_named(make_trainer, capsys):
    make_trainer("method=cfcontra/centres", "method.margin=1000000.0").prepare()
    out = capsys.readouterr().out
    assert "no pixel of these classes was found in the source: " in out and "train" in out
    assert "no pixel of these classes was found in the target: road" in out
    source = torch.eye(3)[:2]
    assert fill_missing(torch.zeros(2, 3), source).equal(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as weights"),
        (b"not a checkpoint", "cannot be read as weights"),
        (b"\x93NUMPY\x01\x00", "cannot be read as weights"),
        (np.full((19, 512), np.nan), "numbers that are not finite"),
        (np.ones((19, 7)), r"needs .*19, 512.* another network"),
    ],
)
def test_a_file_that_holds_no_centres_is_named(make_trainer, tmp_path, content, message):
    file = tmp_path / "broken.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    trainer = make_trainer("method=cfcontra/contrast", f"method.centres=[{file},{file}]")
    with pytest.raises(UserError, match=rf"method\.centres=.*broken\.npy.*{message}"):
        trainer.prepare()


def test_a_projector_sets_the_size_of_the_memory(make_trainer):
    trainer = make_trainer("method=cfcontra/centres", "+model.projector=proca")
    assert trainer.method.source_memory.centres.shape == (19, 256)
    trainer.prepare()
    assert centres_of(trainer)[0].isfinite().all()
