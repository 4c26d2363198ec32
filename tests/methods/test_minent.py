import pytest
import torch

import uda_hydra.losses as L
from tests.toys.networks import STEP, Toy, batch
from uda_hydra.methods.minent import MinEnt


def made(*, aux=True, **changes):
    return MinEnt(Toy(aux=aux), **{"hardest": 1.0, "prior_strictness": None} | changes)


def test_both_heads_become_sure_of_the_target_at_its_own_size():
    method, (source, target) = made(), batch()
    _, update = method.losses(source, target, STEP)
    seen = L.logits(method.segmenter(target.image), target.image.shape[-2:])
    assert update.terms["ent"] == L.entropy(seen["main"].softmax(dim=1))
    assert update.terms["ent_aux"] == L.entropy(seen["aux"].softmax(dim=1))
    assert {*update.terms} == {"ent", "ent_aux"}


def test_one_head_is_enough():
    terms = {name for update in made(aux=False).losses(*batch(), STEP) for name in update.terms}
    assert terms == {"seg", "ent"}


def test_ranking_raises_the_entropy():
    (_, plain), (_, ranked) = (made(hardest=h).losses(*batch(), STEP) for h in (1.0, 0.3))
    assert ranked.terms["ent"] > plain.terms["ent"]


def test_the_prior_knows_the_shares_of_the_source(make_trainer):
    trainer = make_trainer("method=minent", "method.prior_strictness=0.5")
    trainer.prepare()
    method, images = trainer.method, trainer.pair.source.images
    labels = [torch.from_numpy(images.read_label(sample)) for sample in images.samples]
    counts = torch.cat([label.flatten() for label in labels]).long().bincount(minlength=256)[:19]
    torch.testing.assert_close(method.source_share, counts / counts.sum())


def test_without_the_prior_no_label_is_counted(make_trainer, tmp_path):
    trainer = make_trainer("method=minent")
    trainer.prepare()
    method = trainer.method
    assert method.source_share.eq(0).all()
    assert not [*tmp_path.iterdir()]


def test_the_prior_is_a_term_of_both_heads():
    method = made(prior_strictness=0.5)
    method.source_share.fill_(1 / 3)
    _, update = method.losses(*batch(), STEP)
    assert {*update.terms} == {"ent", "ent_aux", "prior", "prior_aux"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardest": 0.0}, r"method\.hardest must be in \(0, 1\], got 0.0"),
        ({"prior_strictness": 2.0}, r"method\.prior_strictness must be null or in \[0, 1\]"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
