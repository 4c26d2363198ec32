"""Which figures a study has, in what order, and their captions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from uda_hydra.studies.report import class_heatmap, plot_1d, plot_nd, plot_tradeoffs
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.findings import shown_list
from uda_hydra.studies.report.html import Picture
from uda_hydra.studies.report.importance import importance
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.plot_style import pdf, png, tidy
from uda_hydra.studies.report.points import PointResults
from uda_hydra.studies.report.selection import TARGET, choices
from uda_hydra.studies.report.statistics import Estimate

log = logging.getLogger(__name__)
MOST_COLUMNS = 40
"""A heat map of more points could not be read."""


@dataclass(frozen=True)
class _Plan:
    """A figure that is still to be drawn."""

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


def draw_all(analysis: StudyAnalysis) -> tuple[list[Picture], list[str]]:
    """All figures that the complete trials can fill, and which ones failed and why."""
    pictures, failures = [], []
    for plan in _plans(analysis):
        try:
            pictures.append(_picture(plan))
        # Swept values are the user's: whatever matplotlib makes of them costs one figure.
        except Exception as error:
            log.debug("figure %s", plan.name, exc_info=True)
            failures.append(f"The figure {plan.name} could not be drawn: {error!r:.200}.")
    return pictures, failures


def _picture(plan: _Plan) -> Picture:
    figure = plan.draw()
    tidy(figure)
    return Picture(plan.name, png(figure), pdf(figure), plan.alt, plan.caption)


def _plans(analysis: StudyAnalysis) -> Iterator[_Plan]:
    if analysis.best is None:
        return
    if analysis.points.axis:
        yield from _responses(analysis)
        yield from _importance(importance(analysis))
    else:
        yield from _many_keys(analysis)
    if len(analysis.study.objectives) > 1 and analysis.front:
        yield _pareto(analysis)
    yield from _classes(analysis)
    yield from _learning(analysis)
    yield from _label_free(analysis)


def _responses(analysis: StudyAnalysis) -> Iterator[_Plan]:
    axis, differences = analysis.points.axis, ""
    if plot_1d.has_differences(analysis):
        differences = (
            " Below: differences to the reference (ringed, dotted). Thin line: one seed. Bars: "
            "95 % interval of the mean difference, paired over seeds, for one comparison."
        )
    for key in analysis.study.objectives:
        means = [
            f"{point.name} {Metric(key).show(analysis.points.mean(point, key).mean)}"
            for point in analysis.points.all
        ]
        yield _Plan(
            "response" if key == analysis.key else f"response_{key.replace('/', '_')}",
            lambda key=key: plot_1d.draw_response(analysis, key),
            f"{Metric(key).name} over {axis}: {shown_list(means, '; ')}",
            f"{Metric(key).name} over {axis}. Dots: trials. Line: mean over seeds. Band: 95 % "
            f"confidence interval of the mean. Hollow: seeds are missing.{differences}",
        )


def _many_keys(analysis: StudyAnalysis) -> Iterator[_Plan]:
    shares = importance(analysis)
    yield from _importance(shares)
    points = analysis.points
    keys = [*shares] or [key for key in points.keys if len(points.tried(key)) > 1]
    what = f"{analysis.objective.name} and {', '.join(keys)}"
    if keys:
        yield _Plan(
            "slices",
            lambda: plot_nd.draw_slices(analysis, keys),
            f"Scatter of {what}",
            "Mean of each point against one key at a time. Dotted: reference.",
        )
    if len(keys) < 2 or len(points.compared) < 3:
        return
    yield _Plan(
        "pairs",
        lambda: plot_nd.draw_pairs(analysis, keys),
        f"Maps of {what}",
        "Points over pairs of keys, coloured by their mean. Background: Gaussian average, standard "
        f"deviation {plot_nd.WIDTH:.0%} of an axis. Other keys vary too. Cross: reference.",
    )
    shown, compared = plot_nd.MOST_LINES, len(points.compared)
    some = f" Only the best {shown} of {compared} points." if compared > shown else ""
    yield _Plan(
        "parallel",
        lambda: plot_nd.draw_parallel(analysis, keys),
        f"Parallel coordinates of {what}",
        f"One line per point, the best on top.{some}",
    )


def _importance(shares: dict[str, Estimate]) -> Iterator[_Plan]:
    if shares:
        yield _Plan(
            "importance",
            lambda: plot_nd.draw_importance(shares),
            "Importance: " + ", ".join(f"{key} {share.mean:.0%}" for key, share in shares.items()),
            "Importance (fANOVA): share of the objective's variance over the whole space that a "
            "key explains. Bars: standard deviation over random forests. A key of high importance "
            "changes the objective, for better or worse.",
        )


def _pareto(analysis: StudyAnalysis) -> _Plan:
    first, second = (Metric(key).name for key in analysis.study.objectives[:2])
    front = shown_list([point.name for point in analysis.front], "; ")
    return _Plan(
        "pareto",
        lambda: plot_tradeoffs.draw_pareto(analysis),
        f"{first} against {second}; front: {front}",
        f"{first} against {second}, means over seeds. No other point is better than one on the "
        "front in all objectives. Small differences may be noise.",
    )


def _classes(analysis: StudyAnalysis) -> Iterator[_Plan]:
    """A heat map for every curve; for many keys the reference next to the best."""
    axis, points = analysis.points.axis, analysis.points
    maps: list[tuple[str, tuple[PointResults, ...]]]
    if axis:
        maps = [(curve.name, curve.points) for curve in points.curves]
    else:
        two = (points.reference, analysis.best)
        maps = [("", tuple(dict.fromkeys(point for point in two if point is not None)))]
    for number, (name, columns) in enumerate(maps, start=1):
        if not analysis.classes or len(columns) > MOST_COLUMNS:
            continue
        heads = [
            shown_value(point.params[axis])
            if axis
            else ("reference" if point is points.reference else "best")
            for point in columns
        ]
        where = f" with {name}" if name else ""
        yield _Plan(
            f"classes_{number}" if len(maps) > 1 else "classes",
            lambda columns=columns, heads=heads: class_heatmap.draw(analysis, columns, heads),
            f"Heat map of per-class IoU over {axis or 'the best point and the reference'}{where}",
            f"IoU of each class{where}, mean over seeds, and the difference to the reference "
            "(framed). For significance, see Answer.",
        )


def _learning(analysis: StudyAnalysis) -> Iterator[_Plan]:
    curves = plot_tradeoffs.learning_curves(analysis)
    if curves:
        names = shown_list([point.name for point in curves], "; ")
        yield _Plan(
            "learning",
            lambda: plot_tradeoffs.draw_learning(analysis, curves),
            f"{Metric(TARGET).name} over the training steps of {names}",
            f"{Metric(TARGET).name} at each evaluation. Thin line: one training. Thick line: mean "
            "over seeds. With many points, the reference and the best ones.",
        )


def _label_free(analysis: StudyAnalysis) -> Iterator[_Plan]:
    found = choices(analysis)
    if found:
        yield _Plan(
            "label_free",
            lambda: plot_tradeoffs.draw_label_free(analysis, found),
            "Target mIoU against " + ", ".join(one.metric.name for one in found),
            f"{Metric(TARGET).name} on the target against scores that need no target label. Each "
            "dot is the mean of a point. Diamond: chosen by the score. Circle: best.",
        )
