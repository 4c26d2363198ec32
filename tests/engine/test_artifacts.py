import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from uda_hydra.engine.artifacts import Artifact, Stored, reopened
from uda_hydra.errors import UserError

ODD = ["a/b", "..", ".", "", "ä ü", "x" * 700, "100%", "a\nb", "a:b*c?", "%2F", "item.partial"]


def made(folder, encoding="exact", **identity):
    return Artifact(folder / "labels", identity=identity, stored=Stored(encoding))


def file_of(artifact, key):
    return artifact._path(key)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([[1.5, -2.25]]),
        torch.tensor([0.1], dtype=torch.float64),
        torch.tensor([0.95], dtype=torch.float16),
        torch.tensor([[0, 255]], dtype=torch.uint8),
        torch.tensor([2**40, -1]),
        torch.tensor([True, False]),
        torch.tensor(3.0),
        torch.zeros(0, 4),
    ],
)
def test_exact_items_come_back_with_value_and_type(tmp_path, tensor):
    artifact = made(tmp_path)
    artifact.write("k", tensor)
    back = artifact.read("k")
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)


def test_every_value_of_bfloat16_is_kept(tmp_path):
    artifact = made(tmp_path)
    tensor = torch.randn(50).bfloat16()
    artifact.write("k", tensor)
    assert torch.equal(artifact.read("k"), tensor.float())


def test_an_item_may_have_several_tensors_of_odd_lengths(tmp_path):
    artifact = made(tmp_path)
    item = {"label": torch.arange(3, dtype=torch.uint8), "confidence": torch.rand(5)}
    artifact.write("k", item)
    back = artifact.read("k")
    assert back.keys() == item.keys()
    assert all(torch.equal(back[name], item[name]) for name in item)


def test_float16_is_off_by_half_a_unit_in_the_eleventh_bit(tmp_path):
    artifact = made(tmp_path, "float16")
    tensor = torch.rand(19, 33, 65)
    artifact.write("k", tensor)
    back = artifact.read("k")
    assert back.dtype == torch.float32
    # Below 2^-14 the steps of float16 no longer shrink.
    assert ((back - tensor).abs() <= tensor * 2**-11 + 2**-25).all()
    assert file_of(artifact, "k").stat().st_size < 2.01 * tensor.numel()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-7.0, 2.0), (0.3, 0.3)])
def test_uint8_is_off_by_half_a_level_at_most(tmp_path, low, high):
    artifact = made(tmp_path, "uint8")
    tensor = torch.linspace(low, high, 4099)
    artifact.write("k", tensor)
    assert (artifact.read("k") - tensor).abs().max() <= (high - low) / 510 + 1e-6
    assert file_of(artifact, "k").stat().st_size < 1.1 * tensor.numel()


def test_uint8_keeps_labels_and_refuses_what_does_not_fit(tmp_path):
    artifact = made(tmp_path, "uint8")
    artifact.write("k", torch.tensor([0, 18, 255]))
    assert artifact.read("k").tolist() == [0, 18, 255]
    assert artifact.read("k").dtype == torch.uint8
    with pytest.raises(ValueError, match=r"from -1 to 3 do not fit"):
        artifact.write("k", torch.tensor([-1, 3]))


def test_an_unknown_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="exact, float32, float16, uint8, not 'int4'"):
        made(tmp_path, "int4")


def test_keys_of_all_kinds_stay_apart_and_inside(tmp_path):
    artifact = made(tmp_path)
    for number, key in enumerate(ODD):
        artifact.write(key, torch.tensor(number))
    again = made(tmp_path)
    assert [int(again.read(key)) for key in ODD] == [*range(len(ODD))]
    assert again.keys_missing([*ODD, "other"]) == ["other"]
    assert {p.name for p in tmp_path.iterdir()} == {"labels"}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_item_is_known_and_never_read(tmp_path, damage):
    artifact = made(tmp_path)
    for key in ("a", "b"):
        artifact.write(key, torch.rand(100))
    path = file_of(artifact, "a")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        path.write_bytes({"flip": flipped, "cut": content[:half], "empty": b""}[damage])
    assert artifact.keys_missing(["a", "b"]) == ["a"]
    with pytest.raises(UserError, match=r"the item a of .*labels is missing or damaged"):
        artifact.read("a")
    # A check that only looked at names would find the damaged one.
    assert not path.exists()
    assert artifact.read("b").shape == (100,)


def test_another_identity_moves_the_folder_aside(tmp_path, capsys):
    for number, threshold in enumerate([0.5, 0.6, 0.7]):
        artifact = made(tmp_path, threshold=threshold)
        assert artifact.keys_missing(["k"]) == ["k"]
        artifact.write("k", torch.tensor(number))
        artifact.finish(["k"])
    names = ["labels", "labels.before-1", "labels.before-2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert "labels: threshold changed; computing it again" in capsys.readouterr().out
    assert int(made(tmp_path, threshold=0.7).read("k")) == 2
    assert made(tmp_path, threshold=0.7).keys == ("k",)


def test_another_encoding_is_another_identity(tmp_path):
    made(tmp_path, "float16").write("k", torch.rand(3))
    assert made(tmp_path, "uint8").keys_missing(["k"]) == ["k"]


def test_a_torn_identity_is_not_trusted(tmp_path):
    artifact = made(tmp_path)
    artifact.write("k", torch.rand(3))
    (artifact.folder / "identity.json").write_text('{"for')
    assert made(tmp_path).keys_missing(["k"]) == ["k"]


def test_half_written_files_go_only_for_the_one_who_writes(tmp_path):
    artifact = made(tmp_path)
    half = artifact.folder / "items" / "k.item.123.partial"
    half.write_bytes(b"x")
    reopened(artifact.folder, kind="soft", stride=1)
    assert half.exists()
    made(tmp_path).remove_partial()
    assert not half.exists()


def test_a_full_disk_is_named_and_leaves_what_is_there(tmp_path, monkeypatch):
    artifact = made(tmp_path)
    artifact.write("k", torch.tensor(1))

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write into .*labels \(No space left on device\)"):
        artifact.write("k", torch.tensor(2))
    assert int(artifact.read("k")) == 1
    assert not [*artifact.folder.rglob("*.partial")]


def test_workers_get_it_whole(tmp_path):
    artifact = Artifact(tmp_path / "a", identity={}, stored=Stored(kind="label", stride=8))
    artifact.write("k", torch.tensor(1))
    copy = pickle.loads(pickle.dumps(artifact))
    assert int(copy.read("k")) == 1
    assert (copy.kind, copy.stride) == ("label", 8)
