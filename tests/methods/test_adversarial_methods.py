"""AdaptSegNet and AdvEnt: what each side of the game learns, and from what."""

from __future__ import annotations

import pytest
import torch

import uda_hydra.losses as L
from tests.methods.toys import Toy, batch
from uda_hydra.methods.adaptsegnet import AdaptSegNet
from uda_hydra.methods.advent import AdvEnt

OPTIONS = {"gan": "vanilla", "disc_target_label": 1, "disc_width": 4}
METHODS = {
    AdaptSegNet: lambda z: z.softmax(dim=1),
    AdvEnt: lambda z: L.self_information(z.softmax(dim=1)),
}


def made(kind, **changes):
    return kind(Toy(aux=changes.pop("aux", True)), **OPTIONS | changes)


def enlarged(logits, image):
    return torch.nn.functional.interpolate(
        logits, image.shape[-2:], mode="bilinear", align_corners=True
    )


@pytest.mark.parametrize("gan", ["vanilla", "ls"])
@pytest.mark.parametrize("kind", METHODS)
def test_one_verdict_gives_both_sides_what_two_would(kind, gan):
    method, (source, target) = made(kind, gan=gan), batch()
    view = METHODS[kind]
    for head, suffix in (("main", ""), ("aux", "_aux")):
        critic = method.critics.heads[head]

        # Literally: the critic looks at the target twice.
        scores = critic(view(enlarged(head_logits(method, target.image, head), target.image)))
        fooling = L.gan(scores, L.SOURCE, kind=gan)
        wanted = torch.autograd.grad(fooling, [*segmenter_of(method, head)])
        detached = enlarged(head_logits(method, target.image, head).detach(), target.image)
        telling = L.gan(critic(view(detached)), L.TARGET, kind=gan)
        wanted_critic = torch.autograd.grad(telling, [*critic.parameters()])

        updates = list(method.losses(source, target, 0.0))
        assert [u.player for u in updates] == ["segmenter", "segmenter", "critics", "critics"]
        torch.testing.assert_close(updates[1].terms[f"adv{suffix}"], fooling)
        got = torch.autograd.grad(updates[1].terms[f"adv{suffix}"], [*segmenter_of(method, head)])
        got_critic = torch.autograd.grad(
            updates[2].terms[f"disc_target{suffix}"], [*critic.parameters()]
        )
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(got_critic, wanted_critic)


def head_logits(method, image, head):
    """Logits of a head, by name."""
    return method.segmenter(image)._asdict()[head]


def segmenter_of(method, head):
    """The parameters that a head's logits depend on."""
    heads = {"main": method.segmenter.main_head, "aux": method.segmenter.aux_head}
    return [*method.segmenter.stem.parameters(), *heads[head].parameters()]


@pytest.mark.parametrize("kind", METHODS)
def test_the_source_comes_before_the_critics_as_source(kind):
    method, (source, target) = made(kind), batch()
    *_, last = method.losses(source, target, 0.0)
    main = enlarged(method.segmenter(source.image).main, source.image)
    scores = method.critics.heads["main"](METHODS[kind](main))
    expected = torch.nn.functional.softplus(scores).mean()
    torch.testing.assert_close(last.terms["disc_source"], expected)


def test_the_wrong_label_rewards_a_critic_that_calls_everything_source():
    terms = {}
    for label in (0, 1):
        method = made(AdaptSegNet, disc_target_label=label)
        for parameter in method.critics.parameters():
            parameter.detach().zero_()
        method.critics.heads["main"].classifier.bias.detach().fill_(-20)
        _, _, telling, _ = method.losses(*batch(), 0.0)
        terms[label] = telling.terms["disc_target"].item()
    assert terms[0] == pytest.approx(0, abs=1e-6)
    assert terms[1] == pytest.approx(20)


@pytest.mark.parametrize("kind", METHODS)
def test_without_an_auxiliary_head_its_terms_are_missing(kind):
    method = made(kind, aux=False)
    terms = {name for update in method.losses(*batch(), 0.0) for name in update.terms}
    assert terms == {"seg", "adv", "disc_source", "disc_target"}
    assert [*method.critics.heads] == ["main"]


@pytest.mark.parametrize("kind", METHODS)
def test_terms_are_those_announced(kind):
    terms = {name for update in made(kind).losses(*batch(), 0.0) for name in update.terms}
    assert terms == {*kind.terms}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gan": "wasserstein"}, r"method\.gan must be one of vanilla, ls, got wasserstein"),
        ({"disc_target_label": 2}, r"method\.disc_target_label must be 0 or 1, got 2"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(AdaptSegNet, **changes)
