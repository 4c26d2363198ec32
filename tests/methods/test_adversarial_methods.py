"""AdaptSegNet and AdvEnt: what the segmenter and the discriminators learn, and from what."""

from __future__ import annotations

import pytest
import torch

import uda_hydra.losses as L
from tests.toys.networks import STEP, Toy, batch
from uda_hydra.methods.output_adversarial import OutputAdversarial

OPTIONS = {
    "view": "probability",
    "gan": "vanilla",
    "discriminator_target_label": 1,
    "discriminator_width": 4,
}
VIEWS = {
    "probability": lambda z: z.softmax(dim=1),
    "self_information": lambda z: L.self_information(z.softmax(dim=1)),
}


def made(**changes):
    return OutputAdversarial(Toy(aux=changes.pop("aux", True)), **OPTIONS | changes)


def enlarged(logits, image):
    return torch.nn.functional.interpolate(
        logits, image.shape[-2:], mode="bilinear", align_corners=True
    )


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
@pytest.mark.parametrize("view", VIEWS)
def test_both_sides_learn_from_the_target_and_neither_trains_the_other(view, gan):
    method, (source, target) = made(view=view, gan=gan), batch()
    for head, suffix in (("main", ""), ("aux", "_aux")):
        discriminator = method.discriminators[head]
        logits = enlarged(head_logits(method, target.image, head), target.image)
        adv = L.gan(discriminator(VIEWS[view](logits)), L.SOURCE, kind=gan)
        wanted = torch.autograd.grad(adv, segmenter_of(method, head))
        scores = discriminator(VIEWS[view](logits.detach()))
        disc = L.gan(scores, L.TARGET, kind=gan)
        wanted_disc = torch.autograd.grad(disc, [*discriminator.parameters()])

        updates = list(method.losses(source, target, STEP))
        assert [u.players for u in updates] == 2 * [("segmenter",)] + 2 * [("discriminators",)]
        terms = updates[1].terms | updates[2].terms
        torch.testing.assert_close(terms[f"adv{suffix}"], adv)
        got = torch.autograd.grad(terms[f"adv{suffix}"], segmenter_of(method, head))
        torch.testing.assert_close(got, wanted)
        got = torch.autograd.grad(terms[f"disc_target{suffix}"], [*discriminator.parameters()])
        torch.testing.assert_close(got, wanted_disc)


def head_logits(method, image, head):
    """Logits of a head, by name."""
    return method.segmenter(image)._asdict()[head]


def segmenter_of(method, head):
    """The parameters that a head's logits depend on."""
    heads = {"main": method.segmenter.main_head, "aux": method.segmenter.aux_head}
    return [*method.segmenter.stem.parameters(), *heads[head].parameters()]


@pytest.mark.parametrize("view", VIEWS)
def test_the_source_is_shown_as_source(view):
    method, (source, target) = made(view=view), batch()
    *_, last = method.losses(source, target, STEP)
    main = enlarged(method.segmenter(source.image).main, source.image)
    scores = method.discriminators["main"](VIEWS[view](main))
    expected = torch.nn.functional.softplus(scores).mean()
    torch.testing.assert_close(last.terms["disc_source"], expected)


def test_the_wrong_label_rewards_a_discriminator_that_calls_everything_source():
    terms = {}
    for label in (0, 1):
        method = made(discriminator_target_label=label)
        for parameter in method.discriminators.parameters():
            parameter.detach().zero_()
        method.discriminators["main"].classifier.bias.detach().fill_(-20)
        _, _, on_target, _ = method.losses(*batch(), STEP)
        terms[label] = on_target.terms["disc_target"].item()
    assert terms[0] == pytest.approx(0, abs=1e-6)
    assert terms[1] == pytest.approx(20)


def test_terms_are_those_announced_and_of_the_heads_there_are():
    names = [
        {name for update in made(aux=aux).losses(*batch(), STEP) for name in update.terms}
        for aux in (True, False)
    ]
    assert names == [{*OutputAdversarial.terms}, {"seg", "adv", "disc_source", "disc_target"}]
    assert [*made(aux=False).discriminators] == ["main"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": "logits"}, r"method\.view must be one of probability, self_information"),
        ({"gan": "wasserstein"}, r"method\.gan must be one of vanilla, ls, got wasserstein"),
        (
            {"discriminator_target_label": 2},
            r"method\.discriminator_target_label must be 0 or 1, got 2",
        ),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
