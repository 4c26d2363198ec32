"""Figures of two metrics against each other, and of metrics over the steps of a training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.plot_style import (
    COLOURS,
    FAINT,
    INK,
    MARKS,
    add_legend,
    literal,
    name_points,
    new_figure,
    style_axes,
)
from uda_hydra.studies.report.points import PointResults
from uda_hydra.studies.report.selection import TARGET, Choice
from uda_hydra.studies.report.statistics import estimate
from uda_hydra.studies.report.trainings import learning_curve


def draw_pareto(analysis: StudyAnalysis) -> Figure:
    """Two objectives against each other, and the front of the points that none beats."""
    first, second = analysis.study.objectives[:2]
    figure = new_figure(7.0, 4.8)
    axes = figure.add_subplot()
    style_axes(axes)

    def places(points: tuple[PointResults, ...]) -> list[tuple[float, float]]:
        mean = analysis.points.mean
        return [(mean(p, second).mean, mean(p, first).mean) for p in points]

    front = {*analysis.front}
    others = tuple(p for p in analysis.points.compared if p not in front)
    if others:
        axes.scatter(*np.transpose(places(others)), s=30, color=FAINT, label="not on the front")
    corners = sorted(places(analysis.front))
    # Between two points of the front one can have the worse of both in each objective.
    steps = "steps-post" if analysis.study.directions[1] == "minimize" else "steps-pre"
    axes.plot(
        *np.transpose(corners),
        marker="o",
        drawstyle=steps,
        color=COLOURS[1],
        linewidth=1.2,
        label="Pareto front",
    )
    if analysis.points.reference:
        ((x, y),) = places((analysis.points.reference,))
        axes.scatter(x, y, s=140, facecolors="none", edgecolors=INK, label="reference")
    ordered = (*analysis.front, *others)
    name_points(axes, zip(places(ordered), map(_short, ordered), strict=True))
    axes.set_xlabel(literal(Metric(second).label))
    axes.set_ylabel(literal(Metric(first).label))
    add_legend(axes)
    return figure


def _short(point: PointResults) -> str:
    """The values of a point without their keys."""
    return ", ".join(map(shown_value, point.params.values()))


def draw_label_free(analysis: StudyAnalysis, choices: tuple[Choice, ...]) -> Figure:
    """Target mIoU against every label-free score: means of points, and what each would choose."""
    figure = new_figure(3.4 * len(choices) + 0.4, 3.9)
    panels = figure.subplots(1, len(choices), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, choices, strict=True):
        style_axes(axes)
        _draw_scores(axes, analysis, found)
    panels[0].set_ylabel(Metric(TARGET).label)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _draw_scores(axes: Axes, analysis: StudyAnalysis, found: Choice) -> None:
    """Target mIoU against one label-free score."""
    mean, points = analysis.points.mean, analysis.points.compared
    places = {p: (mean(p, found.metric.key).mean, mean(p, TARGET).mean) for p in points}
    axes.scatter(*np.transpose([*places.values()]), s=26, color=COLOURS[0], label="point")
    marked = (
        (found.chosen, "D", COLOURS[1], "chosen"),
        (found.best, "o", INK, "best"),
    )
    for point, mark, colour, name in marked:
        style = {"facecolors": "none", "edgecolors": colour, "label": name}
        axes.scatter(*places[point], s=130, marker=mark, **style)
    ordered = dict.fromkeys([found.chosen, found.best, *points])
    name_points(axes, [(places[point], _short(point)) for point in ordered])
    axes.set_xlabel(found.metric.label.replace(" on ", "\non ", 1), fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    rank = found.correlation.mean
    known = "undefined" if np.isnan(rank) else f"{rank:+.2f}"
    better = "low" if found.low_is_good else "high"
    axes.set_title(f"rank correlation {known}\n({better} is good)", fontsize=9)


def learning_curves(analysis: StudyAnalysis) -> dict[PointResults, list[dict[int, float]]]:
    """The logged curves of some points, one per seed: the reference, then the best ones."""
    ranked = sorted(analysis.points.compared, key=lambda p: -analysis.sign * analysis.mean(p).mean)
    given = [analysis.points.reference] if analysis.points.reference else []
    some = [*dict.fromkeys([*given, *ranked])][: len(COLOURS)]
    curves = {p: [learning_curve(p.trials[s], TARGET) for s in analysis.points.seeds] for p in some}
    return {point: logged for point, found in curves.items() if (logged := [*filter(None, found)])}


def draw_learning(
    analysis: StudyAnalysis, curves: dict[PointResults, list[dict[int, float]]]
) -> Figure:
    """Target mIoU over the steps: a thin line per training, a thick one for the mean of a point."""
    figure = new_figure(7.0, 4.6)
    axes = figure.add_subplot()
    style_axes(axes)
    for number, (point, seeds) in enumerate(curves.items()):
        style = {"color": COLOURS[number], "marker": MARKS[number], "markersize": 4}
        for one in seeds if len(seeds) > 1 else ():
            axes.plot([*one], [*one.values()], color=COLOURS[number], linewidth=0.6, alpha=0.5)
        steps = sorted(set.intersection(*map(set, seeds)))
        means = [estimate([one[step] for one in seeds]).mean for step in steps]
        name = f"{point.name}{' (reference)' if point is analysis.points.reference else ''}"
        axes.plot(steps, means, label=literal(name), **style)
    axes.set_xlabel("training step")
    axes.set_ylabel(Metric(TARGET).label)
    add_legend(axes)
    return figure
