"""The objective of a training that has finished, and of one that an earlier version has."""

from __future__ import annotations

import json

from hydra import initialize_config_dir

from tests.conftest import CONF, SMALL, composed
from uda_hydra import tasks
from uda_hydra.engine.label_free import DIRECTIONS


def test_label_free_scores_are_objectives_and_an_edited_result_does_not_count(streets, tmp_path):
    folder = tmp_path / "run"
    given = [*SMALL, "method=source_only", "trainer.steps=1", f"dataset.root={streets}"]
    given.append(f"output={folder}")

    def value(name: str) -> float:
        overrides = [*given, f"objective={name}"]
        config = composed(*overrides)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return tasks.run(config, overrides)

    found = {name: value(name) for name in DIRECTIONS}
    result = json.loads((folder / "source_only/result.json").read_text())
    assert found == {name: result[name] for name in DIRECTIONS}
    del result["snd/target"]
    (folder / "source_only/result.json").write_text(json.dumps(result))
    assert value("snd/target") == found["snd/target"]
