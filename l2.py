"""The one entry point: compose the config, run its task, return the objective."""

from contextlib import nullcontext as reported

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from uda_hydra.schema import register


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Run ``config.task``; a training returns the objective."""
    # Late, so that --help and a mistyped key answer before torch is loaded.
    from uda_hydra import tasks

    return tasks.run(config, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    register()
    with reported():
        main()
