"""What the tests of studies share."""

from __future__ import annotations

import optuna
import pytest

from tests.conftest import composed
from uda_hydra.studies.keys import divide
from uda_hydra.studies.queue import Design, TrialQueue
from uda_hydra.studies.space import parse_space
from uda_hydra.studies.storage import url_of

ADV = "loss.lambda_adv"


@pytest.fixture
def opened(tmp_path):
    """Opens the study of the test once more, as another process would."""
    config = composed("method=advent", with_hydra=True)

    def make(
        written="0.1,0.2,0.3", *, seeds=(0, 1), total=99, retry=False, grid=None
    ) -> TrialQueue:
        space, _ = parse_space(divide({ADV: written}, [], config), config)
        grid = space.listed if grid is None else grid
        queue = TrialQueue(
            tmp_path,
            url_of(tmp_path, None),
            directions=["maximize"],
            design=Design(space, seeds, grid, total, retry),
            sampler=lambda number: optuna.samplers.TPESampler(seed=number),
        )
        planned = queue._design.planned() if grid else []
        facts = {"question": "", "command": "", "objectives": ["miou/last"], "space": space.written}
        facts |= {"recipe": written}
        facts |= {"reference": space.reference, "seeds": seeds, "planned": planned, "facts": {}}
        queue.describe(facts)
        return queue

    return make
