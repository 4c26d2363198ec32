"""Repairs of Optuna 2, which hydra-optuna-sweeper asks for; later versions are left alone.

- A study in a database cannot be made with SQLAlchemy 2: the version that alembic stamps is never
  committed, and the next connection finds none.
- Importance (fANOVA) fails with NumPy 1.24 and later: the value of a node is an array of one
  number, which no longer becomes a float (optuna#4583, fixed in Optuna 3.2).
- Making, adding and copying trials, which later versions have as they are, warns of being
  experimental.
- Its databases are refused by Optuna 3 and later, whose tables differ.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

TO_3_2 = (
    # Infinite values, for which these columns are, are never written by this program.
    "ALTER TABLE trial_values ADD COLUMN value_type VARCHAR(7) NOT NULL DEFAULT 'FINITE'",
    "ALTER TABLE trial_intermediate_values "
    "ADD COLUMN intermediate_value_type VARCHAR(7) NOT NULL DEFAULT 'FINITE'",
    "CREATE INDEX trials_study_id_key ON trials (study_id)",
    "UPDATE version_info SET library_version = '3.2.0'",
    "UPDATE alembic_version SET version_num = 'v3.2.0.a'",
)
"""What Optuna's own upgrades from version 2.6 of the tables to 3.2 come to, besides the names of
distributions."""


def repair() -> None:
    """Repair Optuna 2 in this process, before a study is opened; a second call changes nothing."""
    if not optuna.__version__.startswith("2."):
        return
    from optuna.importance._fanova._tree import _FanovaTree
    from optuna.storages._rdb.storage import _VersionManager

    _VersionManager._set_alembic_revision = _stamp
    _FanovaTree._get_node_value = _node_value
    # The calls that enter given trials: Optuna 2 warns at each, and there is no other way.
    experimental = r"(create_trial|add_trials?|copy_study) is experimental"
    warnings.filterwarnings("ignore", experimental, ExperimentalWarning)


def modernize(path: Path) -> None:
    """Make the SQLite database of a study, which nobody has open, one of Optuna 3.2 and later.

    One that such an Optuna has written is left alone.
    """
    if not optuna.__version__.startswith("2."):
        return
    with closing(sqlite3.connect(path)) as database, database:
        rows = database.execute("SELECT param_id, distribution_json FROM trial_params").fetchall()
        for number, old in rows:
            new = json.dumps(_unified(json.loads(old)))
            change = "UPDATE trial_params SET distribution_json = ? WHERE param_id = ?"
            database.execute(change, (new, number))
        for statement in TO_3_2:
            database.execute(statement)


def interval(low: float, high: float) -> optuna.distributions.BaseDistribution:
    """The numbers from low to high, under the name that the installed version has for them."""
    if optuna.__version__.startswith("2."):
        return optuna.distributions.UniformDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high)


def _unified(distribution: dict[str, Any]) -> dict[str, Any]:
    """A distribution of Optuna 2 under the name that it has since Optuna 3; categories keep it."""
    name, values = distribution["name"], dict(distribution["attributes"])
    if name == "CategoricalDistribution":
        return distribution
    whole = name.startswith("Int")
    step = values.pop("step", 1) if whole else values.pop("q", None)
    new = values | {"step": step, "log": "LogUniform" in name}
    return {"name": "IntDistribution" if whole else "FloatDistribution", "attributes": new}


def _stamp(manager: Any, revision: str) -> None:
    from alembic.migration import MigrationContext

    with manager.engine.begin() as connection:
        context = MigrationContext.configure(connection)
        context.stamp(manager._create_alembic_script(), revision)


def _node_value(tree: Any, node: int) -> float:
    return float(tree._tree.value[node].reshape(-1)[0])
