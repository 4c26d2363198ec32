"""Which differences the seeds can tell, in sentences; with one seed, none."""

from __future__ import annotations

import math

from uda_hydra.studies.answer import Answer, Range
from uda_hydra.studies.points import Curve, Point, same
from uda_hydra.studies.quantities import Quantity
from uda_hydra.studies.statistics import LEVEL, Estimate, estimate, paired

NO_DIFFERENCE = "no difference can be told"
MOST_NAMED = 8
"""So many points are told by name in one sentence."""


def best_and_reference(answer: Answer) -> list[str]:
    """The best against the paper's point."""
    best, reference = answer.best, answer.points.reference
    if reference is None:
        return ["The paper's point is not among those compared: nothing is said against it."]
    if best is None or best is reference:
        return ["The best point is the paper's."] if best else []
    # Every other point could have been the best one.
    comparisons = len(answer.points.compared) - 1
    alone = answer.against_reference(best, answer.key)
    together = answer.against_reference(best, answer.key, comparisons)
    start = f"Best against the paper's {reference.name}: "
    if alone.n < 2:
        return [start + f"{NO_DIFFERENCE} with one seed."]
    start += f"{_shown(answer.objective, alone)} over {alone.n} seeds (paired)"
    if not alone.differs:
        return [f"{start}: {NO_DIFFERENCE}."]
    chosen = f"allowing for having chosen the best of {comparisons}"
    widened = _span(answer.objective, together)
    if not together.differs:
        return [f"{start}; {chosen}, {widened}: {NO_DIFFERENCE}."]
    return [f"{start}; {chosen}, {widened}: they differ{_little(answer, alone)}."]


def _little(answer: Answer, found: Estimate) -> str:
    """What the seeds tell apart need not matter."""
    return ", by less than the robust range allows" if abs(found.mean) <= answer.tolerance else ""


def told_apart(answer: Answer) -> list[str]:
    """The points that differ from the paper's, all of them compared at once."""
    reference = answer.points.reference
    others = [point for point in answer.points.compared if point is not reference]
    if reference is None or len(answer.points.seeds) < 2 or not others:
        return []
    changes = {p: answer.against_reference(p, answer.key, len(others)) for p in others}
    told = {point: change for point, change in changes.items() if change.differs}
    start = f"Of {count(len(others), 'other point')}, {len(told) or 'none'} can be told from "
    names = [f"{p.name} ({answer.objective.show(c.mean, '+')})" for p, c in told.items()]
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], "..."]
    end = f": {', '.join(names)}" if names else ""
    return [f"{start}the paper's, allowing for {count(len(others), 'comparison')}{end}."]


def along_curve(answer: Answer, found: Range) -> list[str]:
    """Whether the value matters at all along a curve."""
    if math.isnan(found.effect):
        return []
    chance = "p < 0.001" if found.effect < 0.001 else f"p = {found.effect:.3f}"
    test = f"({chance}, F-test with seeds as blocks)"
    what = f"{answer.points.axis}" + (f" with {found.curve.name}" if found.curve.fixed else "")
    if found.effect < 1 - LEVEL:
        return [f"Over all its values {what} changes the {answer.objective.name} {test}."]
    return [f"Over all its values no effect of {what} can be told {test}."]


def between_curves(answer: Answer) -> list[str]:
    """Every curve against the paper's, each seed averaged over the values that both have."""
    lines = []
    curves = answer.points.curves
    if len(curves) < 2:
        return []
    paper = (curve for curve in curves if same(curve.fixed, answer.study.reference))
    second = next(paper, curves[0])
    others, seeds = [curve for curve in curves if curve is not second], answer.points.seeds
    for first in others:
        pairs = [(a, b) for a in first.points for b in second.points if _beside(answer, a, b)]
        if not pairs:
            continue
        means = [
            {s: estimate([pair[side].scores(answer.key)[s] for pair in pairs]).mean for s in seeds}
            for side in (0, 1)
        ]
        gap = paired(*means, comparisons=len(others))
        lines.append(_curve_pair(answer, first, second, gap, len(pairs)))
    return lines


def _beside(answer: Answer, first: Point, second: Point) -> bool:
    axis, compared = answer.points.axis, answer.points.compared
    assert axis is not None, "curves lie on an axis"
    alike = same({axis: first.params[axis]}, second.params)
    return alike and first in compared and second in compared


def _curve_pair(answer: Answer, first: Curve, second: Curve, gap: Estimate, values: int) -> str:
    start = f"{first.name} against {second.name}, averaged over {count(values, 'value')}: "
    if gap.n < 2:
        return start + f"{NO_DIFFERENCE} with one seed."
    told = f"they differ{_little(answer, gap)}" if gap.differs else NO_DIFFERENCE
    return f"{start}{_shown(answer.objective, gap)} over {gap.n} seeds (paired): {told}."


def classes(answer: Answer) -> list[str]:
    """Which classes gain and which pay at the best point."""
    best, reference = answer.best, answer.points.reference
    if not answer.classes or best is None or reference is None or best is reference:
        return []
    if len(answer.points.seeds) < 2:
        return []
    count = len(answer.classes)
    changes = {
        name: answer.against_reference(best, f"iou/{name}", count) for name in answer.classes
    }
    told = {name: change for name, change in changes.items() if change.differs}
    start = "Classes at the best point against the paper's"
    if not told:
        return [f"{start}: of {count}, no class can be told to gain or to pay."]
    ordered = sorted(told.items(), key=lambda item: item[1].mean)
    shown = ", ".join(f"{name} {change.mean:+.1f}" for name, change in ordered)
    return [f"{start}, points of IoU, allowing for {count} classes: {shown}."]


def _shown(quantity: Quantity, found: Estimate) -> str:
    difference = f"{quantity.show(found.mean, '+')}{quantity.step}"
    return f"{difference}, {100 * LEVEL:.0f} % interval {_span(quantity, found)}"


def _span(quantity: Quantity, found: Estimate) -> str:
    return f"[{quantity.show(found.low, '+')}, {quantity.show(found.high, '+')}]"


def count(number: int, noun: str) -> str:
    """A number of things, in the plural where it is not one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
