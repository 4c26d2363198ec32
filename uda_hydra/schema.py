"""What Hydra must know before it composes: the schema, the sweeper, the sweeps."""

from __future__ import annotations

from functools import cache

import omegaconf
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from uda_hydra.catalogue import CONF, SWEEPS, describe_groups
from uda_hydra.runs import shares
from uda_hydra.runs.schema import RunSchema
from uda_hydra.runs.stages import folder_of
from uda_hydra.studies.plugin import register_sweeper


def help_text() -> str:
    """What ``--help`` prints. Hydra takes many seconds for it: it lists every group, and twice."""
    return OmegaConf.load(CONF / "hydra/help/launch.yaml").template


@cache
def register() -> None:
    """Make schema, resolvers, sweeper and sweeps known, once; call before ``@hydra.main`` runs.

    A typo or a wrong type then ends in one clear line. Every file in ``sweeps/`` becomes an option
    of the group ``sweep``, merged at the top.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=RunSchema)
    # Before OmegaConf 2.4 register_resolver is a function of other arguments.
    old = omegaconf.__version__.startswith("2.3.")
    add = OmegaConf.register_new_resolver if old else OmegaConf.register_resolver
    add("stage", folder_of, replace=True)
    for number in (
        shares.share_of_steps,
        shares.share_of_rows,
        shares.momentum_over,
        shares.weight_over,
    ):
        add(number.__name__, number, replace=True)
    add("config_groups", describe_groups, replace=True)
    register_sweeper()
    for path in sorted(SWEEPS.glob("*.yaml")):
        node = OmegaConf.load(path)
        store.store(group="sweep", name=path.stem, node=node, package="_global_")
