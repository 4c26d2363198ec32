"""The interactive page: trials, points and learning curves to be explored; it works offline."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from uda_hydra.files import printable
from uda_hydra.studies.records import Trial
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.html import escape
from uda_hydra.studies.report.metrics import Metric, key_label, shown_value
from uda_hydra.studies.report.points import shown_point
from uda_hydra.studies.report.selection import TARGET
from uda_hydra.studies.report.trainings import learning_curve

MOST_CURVES = 100
"""Learning curves of more trainings could not be followed."""
FEW = 12
"""Up to this many values of a key are the ticks of its axis."""
LAYOUT: dict[str, Any] = {"template": "plotly_white", "height": 560, "font": {"size": 14}}


def interactive_page(analysis: StudyAnalysis) -> str:
    """All interactive figures in one page of HTML, plotly included."""
    figures = [_scatter(analysis)]
    if len(analysis.points.keys) > 1:
        figures.append(_parallel(analysis))
    learning = _learning(analysis)
    if learning.data:
        figures.append(learning)
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=not number, div_id=f"figure-{number}")
        for number, figure in enumerate(figures)
    ]
    title, body = escape(analysis.study.name), "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"</head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _scatter(analysis: StudyAnalysis) -> go.Figure:
    """Every trial: one number against another, both chosen from menus."""
    trials = analysis.complete
    keys, metrics = analysis.points.keys, _metrics(analysis)
    across = {key: [_place(analysis, key, trial) for trial in trials] for key in keys}
    numbers = {m: [analysis.value(trial, m) for trial in trials] for m in metrics}
    labels = {metric: printable(Metric(metric).label) for metric in metrics}
    across["seed"] = [float(trial.seed) for trial in trials]
    across |= {labels[metric]: values for metric, values in numbers.items()}
    first = next(iter(across))
    figure = go.Figure(
        go.Scatter(
            x=across[first],
            y=numbers[analysis.key],
            mode="markers",
            marker={"size": 10, "color": [t.seed for t in trials], "colorscale": "Cividis"},
            text=[_describe(analysis, trial) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
        ),
        LAYOUT | {"title": {"text": "Trials, coloured by seed"}},
    )
    figure.update_layout(_axis(analysis, first, across[first]))
    figure.update_yaxes(title=labels[analysis.key])
    menus = [
        [
            _choice(name, {"x": [values]}, _axis(analysis, name, values))
            for name, values in across.items()
        ],
        [
            _choice(labels[m], {"y": [values]}, {"yaxis.title.text": labels[m]})
            for m, values in numbers.items()
        ],
    ]
    figure.update_layout(
        updatemenus=[
            {"buttons": menu, "x": 1.0 - 0.3 * column, "y": 1.16, "xanchor": "right"}
            for column, menu in enumerate(reversed(menus))
        ]
    )
    return figure


def _metrics(analysis: StudyAnalysis) -> list[str]:
    """The objectives, then every other number of the results that has a name."""
    known = dict.fromkeys(key for trial in analysis.complete for key in trial.result)
    named = [key for key in known if Metric(key).name != key]
    return [*dict.fromkeys([*analysis.study.objectives, *named])]


def _title(name: str) -> str:
    """The title of an axis: a swept key also in words."""
    return escape(key_label(name)).replace("\n", "<br>")


def _choice(name: str, data: dict[str, Any], layout: dict[str, Any]) -> dict[str, Any]:
    return {"label": name, "method": "update", "args": [data, layout]}


def _axis(analysis: StudyAnalysis, name: str, values: list[Any]) -> dict[str, Any]:
    """What a number needs of the axis it lies on; a logarithmic one of a few values names them."""
    scale = analysis.points.scale(name) if name in analysis.points.keys else "linear"
    ticks = sorted({*values}) if scale == "log" else []
    return {
        "xaxis.title.text": _title(name),
        # 0 has no place on plotly's logarithmic axis.
        "xaxis.type": scale if scale in ("log", "category") else "linear",
        "xaxis.tickmode": "array" if 0 < len(ticks) <= FEW else "auto",
        "xaxis.tickvals": ticks,
        "xaxis.ticktext": [shown_value(value) for value in ticks],
    }


def _place(analysis: StudyAnalysis, key: str, trial: Trial) -> float | str:
    value = trial.params[key]
    return float(value) if analysis.points.is_number(key) else printable(shown_value(value))


def _describe(analysis: StudyAnalysis, trial: Trial) -> str:
    """What is shown of a trial below the pointer."""
    metrics = [
        f"{Metric(key).name} {Metric(key).show(analysis.value(trial, key))} {Metric(key).unit}"
        for key in analysis.study.objectives
    ]
    lines = [f"trial {trial.number}, seed {trial.seed}", shown_point(trial.params), *metrics]
    return "<br>".join(map(escape, lines))


def _parallel(analysis: StudyAnalysis) -> go.Figure:
    """A line per trial through its values to its objectives; ranges can be selected."""
    trials = analysis.complete
    axes = [_dimension(analysis, key) for key in analysis.points.keys]
    for key in analysis.study.objectives:
        values = [analysis.value(trial, key) for trial in trials]
        axes.append({"label": printable(Metric(key).label), "values": values})
    colour = [analysis.value(trial, analysis.key) for trial in trials]
    line = {"color": colour, "colorscale": "Cividis", "showscale": True}
    title = {"text": "Trials: drag along an axis to select a range"}
    return go.Figure(go.Parcoords(line=line, dimensions=axes), LAYOUT | {"title": title})


def _dimension(analysis: StudyAnalysis, key: str) -> dict[str, Any]:
    """The axis of a swept key; its ticks are tried values."""
    tried = analysis.points.tried(key)
    tried = tried[:: -(-len(tried) // FEW)]
    return {
        "label": printable(key),
        "values": [analysis.points.measure(key, t.params[key]) for t in analysis.complete],
        "tickvals": [analysis.points.measure(key, value) for value in tried],
        "ticktext": [printable(shown_value(value)) for value in tried],
    }


def _learning(analysis: StudyAnalysis) -> go.Figure:
    """Target mIoU over the steps of every training."""
    figure = go.Figure(layout=LAYOUT | {"title": {"text": "Learning curves"}})
    for trial in analysis.complete[:MOST_CURVES]:
        curve = {s: v for s, v in learning_curve(trial, TARGET).items() if math.isfinite(v)}
        if curve:
            name = f"{shown_point(trial.params)} seed {trial.seed}"
            figure.add_scatter(x=[*curve], y=[*curve.values()], name=escape(name))
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title=Metric(TARGET).label)
    return figure
