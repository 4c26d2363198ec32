"""Studies whose every number is chosen: no training behind them."""

from __future__ import annotations

from pathlib import Path

from uda_hydra.studies.records import Study, Trial

KEY = "loss.lambda_adv"
FOLDER = Path("outputs/studies/made")


def trial(number, params, seed, value, *, state="complete", note="", **result):
    """One training; complete with ``value`` (or values) as the objective, in 0..1."""
    values = value if isinstance(value, tuple) else (value,)
    done = state == "complete"
    return Trial(
        number,
        state,
        params,
        seed,
        FOLDER / f"trials/{number:04d}",
        values if done else (),
        {"miou/last": values[0], **result} if done else {},
        note,
    )


def study(trials, *, reference, space=None, **fields):
    """A study of such trainings; everything else is plain unless given."""
    keys = dict.fromkeys(reference, "choice(...)")
    given = {
        "name": "lambda_adv-adaptsegnet-streets-1a2b3c4d",
        "folder": FOLDER,
        "question": "How much does it matter?",
        "command": "python launch.py sweep=lambda_adv",
        "objectives": ("miou/last",),
        "directions": ("maximize",),
        "seeds": tuple(sorted({one.seed for one in trials})),
        "facts": {"method": "adaptsegnet", "dataset": "streets", "torch": "2.15.0"},
    }
    return Study(
        space=space or keys, reference=reference, trials=tuple(trials), **{**given, **fields}
    )


def curve(table, *, reference=0.001, key=KEY, extra=(), results=None, **fields):
    """A study of one key, of value to mIoU in percent by seed.

    ``results`` gives more of a trial by value and seed; ``extra`` trials by their number.
    """
    trials, seeds = [], max(map(len, table.values()))
    for seed in range(seeds):
        for value, points in table.items():
            if seed < len(points):
                more = results(value, seed) if results else {}
                trials.append(trial(len(trials), {key: value}, seed, points[seed] / 100, **more))
    trials += [make(number) for number, make in enumerate(extra, start=len(trials))]
    return study(trials, reference={key: reference}, **fields)
