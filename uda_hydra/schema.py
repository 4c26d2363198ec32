"""What Hydra must know before it composes: the schema, the sweeper, the sweeps."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from uda_hydra.catalogue import SWEEPS, describe_groups
from uda_hydra.runs.schema import RunSchema
from uda_hydra.runs.stages import register_resolver
from uda_hydra.studies.plugin import register_sweeper


def register() -> None:
    """Make schema, resolvers, sweeper and sweeps known; call before ``@hydra.main`` runs.

    A typo or a wrong type then ends in one clear line. Every file in ``sweeps/`` becomes an option
    of the group ``sweep``, merged at the top.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=RunSchema)
    register_resolver()
    OmegaConf.register_new_resolver("config_groups", describe_groups, replace=True)
    register_sweeper()
    for path in sorted(SWEEPS.glob("*.yaml")):
        node = OmegaConf.load(path)
        store.store(group="sweep", name=path.stem, node=node, package="_global_")
