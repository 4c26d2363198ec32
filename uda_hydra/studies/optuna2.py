"""Repairs of Optuna 2, which hydra-optuna-sweeper asks for; later versions are left alone.

- A study in a database cannot be made with SQLAlchemy 2: the version that alembic stamps is never
  committed, and the next connection finds none.
- Importance (fANOVA) fails with NumPy 1.24 and later: the value of a node is an array of one
  number, which no longer becomes a float (optuna#4583, fixed in Optuna 3.2).
- Making and adding trials, which later versions have as they are, warns of being experimental.
"""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning


def repair() -> None:
    """Repair Optuna 2 in this process, before a study is opened; a second call changes nothing."""
    if not optuna.__version__.startswith("2."):
        return
    from optuna.importance._fanova._tree import _FanovaTree
    from optuna.storages._rdb.storage import _VersionManager

    _VersionManager._set_alembic_revision = _stamp
    _FanovaTree._get_node_value = _node_value
    # The two calls that enter given trials: Optuna 2 warns at each, and there is no other way.
    experimental = r"(create_trial|add_trials?) is experimental"
    warnings.filterwarnings("ignore", experimental, ExperimentalWarning)


def interval(low: float, high: float) -> optuna.distributions.BaseDistribution:
    """The numbers from low to high, under the name that the installed version has for them."""
    if optuna.__version__.startswith("2."):
        return optuna.distributions.UniformDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high)


def _stamp(manager: Any, revision: str) -> None:
    from alembic.migration import MigrationContext

    with manager.engine.begin() as connection:
        context = MigrationContext.configure(connection)
        context.stamp(manager._create_alembic_script(), revision)


def _node_value(tree: Any, node: int) -> float:
    return float(tree._tree.value[node].reshape(-1)[0])
