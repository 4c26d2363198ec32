"""The restyled source: same files, other look, and a training can read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import SMALL, composed
from uda_hydra import build, tasks
from uda_hydra.errors import UserError
from uda_hydra.files import digest
from uda_hydra.models.adain import AdainDecoder, AdainEncoder


@pytest.fixture
def stylize(streets, tmp_path):
    """Runs the task on the generated scenes; the folder of the results."""

    def task(*overrides: str) -> Path:
        given = ["task=stylize", f"dataset.root={streets}", f"output={tmp_path / 'styled'}"]
        tasks.run(composed(*SMALL, *given, *overrides), given)
        return tmp_path / "styled"

    task.pair = build.pair(composed(*SMALL, f"dataset.root={streets}"))
    return task


def images(root: Path, pair) -> dict[Path, np.ndarray]:
    names = [s.image.relative_to(pair.source.images.root) for s in pair.source.images.samples]
    return {name: cv2.imread(str(root / name)) for name in names}


def test_a_restyled_source_can_be_trained_on(stylize, streets):
    folder = stylize("augmentation.transfer=reinhard")
    before, after = (
        images(root, stylize.pair) for root in (stylize.pair.source.images.root, folder)
    )
    for name, image in after.items():
        assert image.shape == before[name].shape
        assert not np.array_equal(image, before[name])
    config = composed(*SMALL, f"dataset.root={streets}", f"dataset.source.root={folder}")
    pair = build.pair(config)
    assert pair.source.keys == stylize.pair.source.keys
    assert pair.source.label(0).equal(stylize.pair.source.label(0))


def test_a_missing_image_alone_is_made_again(stylize):
    folder = stylize()
    names = [*images(folder, stylize.pair)]
    first, other = (digest(folder / name) for name in names[:2])
    changed = (folder / names[1]).stat().st_mtime_ns
    (folder / names[0]).unlink()
    left = folder / names[0].with_name(f".{names[0].name}.{2**30}.tmp")
    left.write_bytes(b"half of an image")
    stylize()
    assert not left.exists()
    assert [digest(folder / name) for name in names[:2]] == [first, other]
    assert (folder / names[1]).stat().st_mtime_ns == changed
    with pytest.raises(UserError, match="images of another augmentation; choose another folder"):
        stylize("augmentation.beta=0.2")


def test_files_of_others_are_not_taken_for_restyled_ones(stylize, tmp_path):
    shutil.copytree(stylize.pair.source.images.root / "images", tmp_path / "copy/images")
    with pytest.raises(UserError, match="copy holds other files; choose a new folder"):
        stylize(f"output={tmp_path / 'copy'}")
    with pytest.raises(UserError, match="is not apart from the data set"):
        stylize(f"output={stylize.pair.source.images.root.parent}")


def test_ones_own_images_are_restyled_alone(stylize, tmp_path):
    target = Path(stylize.pair.target.images.root)
    source = Path(stylize.pair.source.images.root)
    classes = tmp_path / "classes.yaml"
    classes.write_text(
        "classes: [{name: road, colour: [1, 2, 3], source: [7], target: [7]}, "
        "{name: car, colour: [0, 0, 1], source: [26], target: [26]}]"
    )
    folder = tmp_path / "styled"
    scored = f"images: {target / 'leftImg8bit/val'}, labels: {target / 'gtFine/val'}"
    names = "image_name: '{}_leftImg8bit', label_name: '{}_gtFine_labelIds'"
    given = [
        *("task=stylize", f"output={folder}", "dataset=folders", f"dataset.classes={classes}"),
        *(f"dataset.source.{kind}={source / kind}" for kind in ("images", "labels")),
        f"dataset.target.images={target / 'leftImg8bit/train'}",
        f"++dataset.target.validation={{{scored}, {names}}}",
        "dataset.cache=false",
    ]
    tasks.run(composed(*given), given)
    made = {path.relative_to(folder) for path in folder.rglob("*.png")}
    assert made == {path.relative_to(source / "images") for path in source.rglob("images/*.png")}


def test_linked_labels_and_hidden_styles(streets, tmp_path):
    """A link among the files leads to the same from another folder; ._ files are no styles."""
    source = tmp_path / "GTA5"
    shutil.copytree(next(streets.glob("*/GTA5")), source)
    label = next((source / "labels").iterdir())
    label.rename(tmp_path / label.name)
    label.symlink_to(f"../../{label.name}")
    (tmp_path / "styles").mkdir()
    shutil.copy(next((source / "images").iterdir()), tmp_path / "styles/a.png")
    (tmp_path / "styles/._a.png").write_bytes(b"of macOS")
    folder = tmp_path / "deep/er/styled"
    given = ["task=stylize", f"output={folder}", f"input={tmp_path / 'styles'}"]
    given += [f"dataset.root={streets}", f"dataset.source.root={source}"]
    tasks.run(composed(*SMALL, *given), given)
    assert (folder / "labels" / label.name).read_bytes() == label.read_bytes()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["augmentation=none"], "needs augmentation=restyle"),
        (["augmentation=adain"], "augmentation.encoder must be a file of weights"),
        (["augmentation.beta=0.5"], "augmentation.beta must be in"),
        (["input=nowhere"], r"input=nowhere is not a folder"),
        (["output=null"], "needs output=FOLDER"),
    ],
)
def test_what_cannot_be_is_said_first(stylize, overrides, message):
    with pytest.raises(UserError, match=message):
        stylize(*overrides)


def test_adain_by_the_files_of_the_release(stylize, tmp_path):
    """The encoder's file is longer than what is used of it."""
    torch.manual_seed(0)
    weights = zip((0, 2, 5, 9, 12, 16, 19, 22, 25, 29), AdainEncoder().convs, strict=True)
    encoder = {f"{i}.{n}": t for i, conv in weights for n, t in conv.state_dict().items()}
    for i in (32, 35, 38, 42, 45, 48, 51):
        encoder |= {f"{i}.weight": torch.zeros(512, 512, 3, 3), f"{i}.bias": torch.zeros(512)}
    numbers = zip((1, 5, 8, 11, 14, 18, 21, 25, 28), AdainDecoder().convs, strict=True)
    decoder = {f"{i}.{n}": t for i, conv in numbers for n, t in conv.state_dict().items()}
    torch.save(encoder, tmp_path / "vgg.pth")
    torch.save(decoder, tmp_path / "decoder.pth")
    folder = stylize(
        "augmentation=adain",
        f"augmentation.encoder={tmp_path / 'vgg.pth'}",
        f"augmentation.decoder={tmp_path / 'decoder.pth'}",
        "augmentation.styles=2",
        "augmentation.size=[36,20]",
    )
    for name, image in images(stylize.pair.source.images.root, stylize.pair).items():
        assert cv2.imread(str(folder / name)).shape == image.shape
