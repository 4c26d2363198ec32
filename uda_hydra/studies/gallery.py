"""Which figures a study has, in what order, and what is written under them."""

from __future__ import annotations

from uda_hydra.studies import figures, heat, many
from uda_hydra.studies.answer import Answer
from uda_hydra.studies.canvas import png
from uda_hydra.studies.importance import importance
from uda_hydra.studies.label_free import TARGET, choices
from uda_hydra.studies.page import Picture
from uda_hydra.studies.points import Point
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.statistics import Estimate

MOST_COLUMNS = 40
"""A heat map of more points would not be read."""


def pictures(answer: Answer) -> list[Picture]:
    """All figures that the complete trials can fill; none before the first."""
    if answer.best is None:
        return []
    if answer.points.axis:
        shares = importance(answer)
        drawn = [*_responses(answer), *([_importance(shares)] if shares else [])]
    else:
        drawn = _of_many_keys(answer)
    if len(answer.study.objectives) > 1 and answer.front:
        drawn.append(_pareto(answer))
    return [*drawn, *_classes(answer), *_free_scores(answer)]


def _responses(answer: Answer) -> list[Picture]:
    axis, made = answer.points.axis, []
    for key in answer.study.objectives:
        name = "response" if key == answer.key else f"response_{key.replace('/', '_')}"
        alt = f"{Quantity(key).name} over {axis}: " + "; ".join(
            f"{point.name} {Quantity(key).show(answer.points.mean(point, key).mean)}"
            for point in answer.points.all
        )
        caption = (
            f"{Quantity(key).name} over {axis}. Small dots: trials; line: mean over seeds; band: "
            "95 % t-interval of the mean, value by value (seeds are shared, so differences are "
            "sharper than the bands); dotted and ringed: the paper's. Hollow: "
            "not all compared seeds are there."
        )
        made.append(Picture(name, png(figures.response(answer, key)), alt, caption))
    return made


def _of_many_keys(answer: Answer) -> list[Picture]:
    shares = importance(answer)
    varied = [key for key in answer.points.keys if len(answer.points.tried(key)) > 1]
    keys = [*shares] or varied
    made = [_importance(shares)] if shares else []
    what = f"{answer.objective.name} and {', '.join(keys)}"
    if keys:
        caption = "Mean of every point over each key alone; dotted: the paper's value."
        figure = png(many.slices(answer, keys))
        made.append(Picture("slices", figure, f"Scatter of {what}", caption))
    if len(keys) > 1 and len(answer.points.compared) > 2:
        caption = (
            "Pairs of keys: points, coloured by their mean, on a smoothed ground (Gaussian of "
            f"{many.WIDTH:.0%} of an axis). Other keys vary as well. Cross: the paper's point."
        )
        made.append(Picture("pairs", png(many.pairs(answer, keys)), f"Maps of {what}", caption))
        caption = "A line per point through its values to its mean; the best ones on top."
        figure = png(many.parallel(answer, keys))
        made.append(Picture("parallel", figure, f"Parallel coordinates of {what}", caption))
    return made


def _importance(shares: dict[str, Estimate]) -> Picture:
    told = ", ".join(f"{key} {share.mean:.0%}" for key, share in shares.items())
    caption = (
        "Importance (fANOVA): the share of the objective's variance over the whole space that a "
        "key explains, interactions shared out; whiskers: standard deviation over random forests. "
        "It says where the objective moves, not which value is good."
    )
    return Picture("importance", png(many.bars(shares)), f"Importance: {told}", caption)


def _pareto(answer: Answer) -> Picture:
    first, second = (Quantity(key).name for key in answer.study.objectives[:2])
    caption = (
        f"{first} against {second}, means over seeds. No point beats one of the front in all "
        "objectives; points close to the front may belong to it with other seeds."
    )
    alt = f"{first} against {second}; front: " + "; ".join(p.name for p in answer.front)
    return Picture("pareto", png(figures.pareto(answer)), alt, caption)


def _classes(answer: Answer) -> list[Picture]:
    """A heat map for every curve; for many keys the paper's point beside the best."""
    if not answer.classes:
        return []
    axis, made = answer.points.axis, []
    maps: list[tuple[str, tuple[Point, ...]]]
    if axis:
        maps = [(curve.name, curve.points) for curve in answer.points.curves]
    else:
        two = (answer.points.reference, answer.best)
        maps = [("", tuple(dict.fromkeys(p for p in two if p is not None)))]
    for number, (name, points) in enumerate(maps):
        if len(points) > MOST_COLUMNS:
            continue
        if axis:
            heads = [written(point.params[axis]) for point in points]
        else:
            heads = ["paper" if p is answer.points.reference else "best" for p in points]
        where = f" with {name}" if name else ""
        caption = (
            f"IoU of every class{where}, mean over seeds, and its change against the paper's "
            "point (framed). A single change is no finding: see the answer above."
        )
        alt = f"Heat map of per-class IoU over {axis or 'the best point and the reference'}{where}"
        file = f"classes_{number + 1}" if len(maps) > 1 else "classes"
        made.append(Picture(file, png(heat.classes(answer, points, heads)), alt, caption))
    return made


def _free_scores(answer: Answer) -> list[Picture]:
    found = choices(answer)
    if not found:
        return []
    caption = (
        f"{Quantity(TARGET).name} on the target against scores that need no target label: means "
        "of points. Diamond: what the score would choose; circle: the best."
    )
    alt = "Target mIoU against " + ", ".join(one.quantity.name for one in found)
    return [Picture("label_free", png(figures.free_scores(answer, found)), alt, caption)]
