"""Many processes, other launchers, a server for several machines."""

from __future__ import annotations

import importlib.util
import signal

import pytest

from tests.processes import until
from tests.studies.postgresql import server
from tests.studies.test_sweeper import AUX, began, refused, start, study, sweep
from uda_hydra.studies.load import load_study

pytestmark = pytest.mark.slow

GRID = [f"{AUX}=0.2,0.3,0.4,0.5", "seed=0,1,2"]


def test_four_processes_share_a_fresh_server_and_one_of_them_is_killed(tmp_path):
    with server(tmp_path) as url:
        machines = [tmp_path / f"machine{number}" for number in range(4)]
        for folder in machines:
            folder.mkdir()
        command = [*GRID, f"hydra.sweeper.storage='{url}'"]
        several = [start(folder, *command, nap=1.0) for folder in machines]
        until(lambda: len(began(machines[0])) == 2, several[0])
        several[0].send_signal(signal.SIGKILL)
        for process in several:
            said = process.communicate(timeout=400)
        assert [process.returncode for process in several] == [-9, 0, 0, 0], said
        # The killed one's trial is found out by whoever comes on that machine.
        assert sweep(machines[0], *command).returncode == 0
        (folder,) = (machines[0] / "outputs/studies").iterdir()
        trials = load_study(folder, url).trials
        assert [t.state for t in trials].count("complete") == 15
        assert [t.state for t in trials].count("interrupted") <= 1
        done = [line for folder in machines for line in began(folder)]
        assert len({*done}) == 15
        assert len(done) <= 16


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_other_launchers_run_several_at_once(tmp_path, launcher):
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f'no {plugin} here (pip install -e ".[{launcher.partition("_")[0]}]")')
    given = [f"hydra/launcher={launcher}", "hydra.sweeper.n_jobs=2", f"{AUX}=0.2,13,0.4"]
    if launcher == "ray":
        # A cluster on this machine, for the time of the sweep.
        given += ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.remote.num_cpus=1"]
    done = sweep(tmp_path, *given)
    assert "1 trials failed" in refused(done)
    states = {t.params[AUX]: (t.state, t.note) for t in study(tmp_path).trials}
    assert states.pop(13) == ("failed", "bad luck")
    assert {*states.values()} == {("complete", "")}
    # Hydra's and the launcher's own files are in the study's folder.
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["studies"]
    assert not [*tmp_path.glob("[!o]*")]


def test_many_processes_at_once_on_a_fresh_folder(tmp_path):
    several = [start(tmp_path, *GRID, nap=0.2) for _ in range(5)]
    for process in several:
        said = process.communicate(timeout=400)
        assert process.returncode == 0, said
    found = began(tmp_path)
    assert len(found) == len({*found}) == 15
