"""The command line that trains one point of a study by itself."""

from __future__ import annotations

import shlex

from uda_hydra.files import quoted
from uda_hydra.studies.records import Point, Study, Value

OF_STUDY = ("-m", "--multirun", "hydra.", "hydra/", "trial.")
"""How the parts of a study's command begin that a training alone does not need."""


def command_of(study: Study, point: Point, seed: int) -> str:
    """The study's command with the values of one point and one seed."""
    words = shlex.split(study.command)
    own = {key.lstrip("+") for key in (*study.space, *point)} | {"seed", "output"}
    kept = [
        word
        for word in words
        if word.lstrip("+").partition("=")[0] not in own and not word.startswith(OF_STUDY)
    ]
    if any(word.startswith("sweep=") for word in kept):
        # The file of the sweep still sets what its trainings share, but starts no study.
        kept.append("hydra.mode=RUN")
    values = [_override(key, value) for key, value in point.items()]
    return shlex.join([*kept, *values, f"seed={seed}"])


def _override(key: str, value: Value) -> str:
    """A value with all its digits, as Hydra reads it."""
    if isinstance(value, str):
        line = f"{key}={value}"
        # In quotes a list or a mapping would be a text.
        return line if value.startswith(("[", "{")) else quoted(line)
    return f"{key}={repr(value).lower() if value is not None else 'null'}"
