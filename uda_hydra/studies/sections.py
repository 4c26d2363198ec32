"""The sections of the page, from the answer to how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from uda_hydra.studies import tables, words
from uda_hydra.studies.answer import Answer
from uda_hydra.studies.label_free import choices
from uda_hydra.studies.page import Picture, code, folded, items, page, table
from uda_hydra.studies.points import named
from uda_hydra.studies.quantities import Quantity

FEW = 40
"""Longer tables are folded."""
OF_KEYS = ("importance", "slices", "pairs", "parallel")


def document(answer: Answer, pictures: Sequence[Picture]) -> str:
    """The whole report as one file."""
    study = answer.study

    def drawn(*names: str) -> str:
        return "".join(p.html() for p in pictures if p.name.startswith(names))

    points = table(tables.points(answer))
    if len(answer.points.all) > FEW:
        points = folded(f"{len(answer.points.all)} points", points)
    return page(
        study.name,
        f"{study.question}\n{words.progress(answer)}",
        [
            ("Answer", items(words.statements(answer))),
            ("Response", drawn("response")),
            ("The swept keys together", drawn(*OF_KEYS)),
            ("Points", points + items(tables.legend(answer))),
            ("Pareto front", drawn("pareto") + table(front(answer))),
            ("Which classes pay", drawn("classes")),
            ("Without target labels", items(free(answer)) + drawn("label_free")),
            ("Not in the curves", table(left_out(answer))),
            ("All trials", folded(f"{len(study.trials)} trials", table(tables.trials(answer)))),
            ("How it was made", code(study.command) + table(made(answer))),
        ],
    )


def free(answer: Answer) -> list[str]:
    """What each label-free score would have chosen."""
    return [words.choice(found) for found in choices(answer)]


def front(answer: Answer) -> tables.Rows:
    """The Pareto front by its numbers in the figure; a head alone with one objective."""
    keys = answer.study.objectives
    head = ["number", "point", *(Quantity(key).label for key in keys)]
    points = answer.front if len(keys) > 1 else ()
    return [
        head,
        *(
            [str(n), p.name, *(Quantity(k).show(answer.points.mean(p, k).mean) for k in keys)]
            for n, p in enumerate(points, start=1)
        ),
    ]


def left_out(answer: Answer) -> tables.Rows:
    """Trials that failed, were pruned or gave no number, and why."""
    bad = {trial.number: trial for trial in answer.not_finite}
    bad |= {t.number: t for t in answer.study.trials if t.state in ("failed", "pruned")}
    return [
        ["trial", "state", "point", "seed", "why"],
        *(
            [
                str(number),
                "not finite" if trial.state == "complete" else trial.state,
                named(trial.params),
                str(trial.seed),
                trial.note or "objective is not a finite number" * (trial.state == "complete"),
            ]
            for number, trial in sorted(bad.items())
        ),
    ]


def made(answer: Answer) -> tables.Rows:
    """The study's facts, its objective and its space."""
    study = answer.study
    goals = zip(study.directions, study.objectives, strict=True)
    rows = [["fact", "value"], ["objective", ", ".join(" ".join(goal) for goal in goals)]]
    rows += [[f"space of {key}", drawn] for key, drawn in study.space.items()]
    rows += [["paper's point", named(study.reference)], ["seeds", " ".join(map(str, study.seeds))]]
    rows += [["robust range", f"within {words.tolerance(answer)} of the best"]]
    return rows + [[name, value] for name, value in study.facts.items()]
