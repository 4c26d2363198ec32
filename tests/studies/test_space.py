"""What is swept, read from files and command lines."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution

from tests.conftest import composed
from uda_hydra.errors import UserError
from uda_hydra.studies.keys import divide
from uda_hydra.studies.space import parse_space, point_key

ADV = "loss.lambda_adv"


@pytest.fixture(scope="module")
def config():
    return composed("method=advent", with_hydra=True)


def parse(params, arguments, config, **options):
    """The space, the fixed lines and the swept seeds, as the sweeper reads them."""
    overrides = divide(params, arguments, config)
    space, seeds = parse_space(overrides, config, **options)
    return space, [override.input_line for override in overrides.fixed.values()], seeds


def points(space):
    return [[*point.values()] for point in space.points()]


def test_a_list_a_choice_and_a_range_are_grids_and_the_reference_is_always_first(config):
    for written, rest in (
        ("0.0005,0.002", [0.0005, 0.002]),
        ("choice(0.0005,0.001,0.002)", [0.0005, 0.002]),
        ("range(1,4)", [1, 2, 3]),
    ):
        space, fixed, seeds = parse({}, [f"{ADV}={written}", "method=advent"], config)
        assert space.listed
        assert points(space) == [[0.001], *([value] for value in rest)]
        assert fixed == ["method=advent"]
        assert seeds is None


def test_logspace_has_equal_ratios_and_both_ends(config):
    space, *_ = parse({ADV: "logspace(1e-4, 1e-2, 5)"}, [], config)
    assert space.written == {ADV: "choice(0.0001,0.000316,0.001,0.00316,0.01)"}
    assert sorted(v for (v,) in points(space)) == [0.0001, 0.000316, 0.001, 0.00316, 0.01]
    for wrong in ("0, 1, 3", "1, 1, 3", "1, 2, 1", "a, b, 3", "1, nan, 3", "1, inf, 3"):
        with pytest.raises(UserError, match="0 < low < high"):
            parse({ADV: f"logspace({wrong})"}, [], config)


def test_an_interval_makes_room_for_the_reference(config):
    space, *_ = parse({ADV: "tag(log, interval(0.002, 0.1))"}, [], config)
    (distribution,) = space.distributions.values()
    assert not space.listed
    assert (distribution.low, distribution.high) == (0.001, 0.1)
    assert space.reference == {ADV: 0.001}
    # Nothing is no number.
    minent = composed("method=minent", with_hydra=True)
    space, *_ = parse({"method.prior_strictness": "interval(0.1, 0.9)"}, [], minent)
    assert space.reference is None
    space, *_ = parse({"method.prior_strictness": "null,0.5"}, [], minent)
    assert points(space) == [[None], [0.5]]


def test_a_fixed_value_on_the_command_line_takes_a_key_out_and_a_swept_one_replaces_it(config):
    params = {ADV: "0.1,0.2", "loss.lambda_adv_aux": "0.3,0.4"}
    space, fixed, _ = parse(params, [f"{ADV}=0.7", "loss.lambda_adv_aux=5,6"], config)
    assert fixed == [f"{ADV}=0.7"]
    assert space.written == {"loss.lambda_adv_aux": "5,6"}


def test_the_first_of_several_keys_that_the_method_has_is_swept(config):
    params = {"method.threshold | method.key_threshold": "0.8,0.9"}
    caco = composed("method=caco/contrast", with_hydra=True)
    assert [*parse(params, [], caco)[0].written] == ["method.key_threshold"]
    fixed = parse(params, ["method.key_threshold=0.7"], caco)
    assert fixed[0].written == {}
    with pytest.raises(UserError, match=r"advent has no method\.threshold or.*method\.gan"):
        parse(params, [], config)


def test_seeds_are_no_part_of_the_space(config):
    space, fixed, seeds = parse({}, ["seed=3,1,2"], config)
    assert (space.written, fixed, seeds) == ({}, [], [3, 1, 2])
    assert space.points() == [{}]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("loss.lambda_ent=1,2", r"no loss\.lambda_ent to sweep; it has loss\.lambda_seg"),
        ("+sweep=a,b", "one question at a time"),
        ("+stage.foo=1,2", r"\+stage\.foo names no key of the stage, as \+stage\.foo\.seed=1,2"),
        ("seed=a,b", "whole numbers"),
        ("seed=0.5,1", "whole numbers"),
        ("+loss.lambda_new=1,2", "only keys that the config has"),
        ("seed=-1,0", r"seed must be 0 or more"),
        ("optimizer.lr=0.1,nan", r"optimizer\.lr must be a finite number"),
        ("optimizer.lr=interval(-1,1)", r"optimizer\.lr must be positive"),
        ("optimizer.lr=interval(1,0.1)", "the first end must be the smaller one"),
        ("loss.lambda_adv=tag(log,interval(0,0.1))", "the first end must be positive, for a log"),
        ("loss.lambda_adv=interval(0,inf)", r"lambda_adv must be a finite number"),
        ("+stage.advent.optimizer.momentum=0.9,1", r"optimizer\.momentum must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_swept_is_refused(config, argument, message):
    with pytest.raises(UserError, match=message):
        parse({}, [argument], config)


def test_a_group_and_an_addressed_stage_can_be_swept(config):
    space, *_ = parse({}, ["method=advent,minent", "+stage.start.trainer.steps=5,7"], config)
    assert space.reference == {"method": "advent", "+stage.start.trainer.steps": 900}
    assert all(isinstance(d, CategoricalDistribution) for d in space.distributions.values())


def test_lists_are_values_too(config):
    space, *_ = parse({}, ["dataset.target.size=[256,128],[128,64]"], config)
    assert points(space) == [["[256,128]"], ["[128,64]"]]


def test_a_value_in_quotes_is_the_same_value(config):
    space, *_ = parse({}, ["method.gan='ls','vanilla',ls"], config)
    assert points(space) == [["'vanilla'"], ["'ls'"]]
    assert space.reference == {"method.gan": "'vanilla'"}
    assert space.distributions["method.gan"].choices == ("'ls'", "'vanilla'")


def test_one_and_one_point_zero_are_the_same_point_and_true_is_another():
    assert point_key({"a": 1, "b": None}) == point_key({"b": None, "a": 1.0})
    assert point_key({"a": 1}) != point_key({"a": True})
    assert point_key({"a": "1"}) != point_key({"a": 1})


def test_a_pattern_is_the_first_key_of_its_form_that_is_not_swept_yet(config):
    space, *_ = parse({"loss.lambda_none | loss.lambda_[!s]*": "1,2"}, [], config)
    assert [*space.written] == [ADV]
    params = {ADV: "1,2", "loss.lambda_[!s]* | none": "3,4"}
    assert [*parse(params, [], config)[0].written] == [ADV, "loss.lambda_adv_aux"]
    assert [*parse({ADV: "1,2", "loss.zeta_* | none": "3,4"}, [], config)[0].written] == [ADV]


def test_a_method_with_none_of_the_keys_of_a_question_is_refused():
    minent = composed("method=minent", with_hydra=True)
    params = {"method.key_threshold | method.threshold | none": "1,2", "method.margin | none": "3"}
    lacks = r"minent has no method\.key_threshold or method\.threshold or method\.margin to sweep"
    with pytest.raises(UserError, match=lacks):
        parse(params, [], minent)
    with pytest.raises(UserError, match=lacks):
        parse(params, ["loss.lambda_ent=1,2"], minent)


def test_the_reference_is_added_where_it_means_something_or_is_asked_for(config):
    groups = ["method=adaptsegnet,minent"]
    categories = ["method.gan=ls,foo"]
    for arguments in (groups, categories):
        space, *_ = parse({}, arguments, config)
        assert space.reference is None
        assert len(space.points()) == 2
        space, *_ = parse({}, arguments, config, reference=True)
        assert len(space.points()) == 3
    # It costs nothing where it is listed, and belongs among numbers.
    assert parse({}, ["method.gan=ls,vanilla"], config)[0].reference == {"method.gan": "vanilla"}
    assert len(parse({}, [f"{ADV}=0.1,0.2"], config, reference=False)[0].points()) == 2
    space, *_ = parse({}, [f"{ADV}=interval(0.1,0.2)"], config, reference=False)
    assert (space.distributions[ADV].low, space.reference) == (0.1, None)
    minent = composed("method=minent", with_hydra=True)
    with pytest.raises(UserError, match="reference=true"):
        parse({}, ["method.prior_strictness=interval(0.1,0.9)"], minent, reference=True)
