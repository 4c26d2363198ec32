"""MLflow's own pages of a finished sweep, in a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.conftest import SMALL
from tests.processes import until
from tests.test_launch import launch
from uda_hydra.tracking.mlflow_store import connect
from uda_hydra.tracking.view import link, search

pytestmark = pytest.mark.slow
DATABASE = "sqlite:///outputs/mlflow.db"
SWEEP = (
    "-m",
    *(o for o in SMALL if o != "tracking=none"),
    "method=advent",
    'start.overrides=["method=source_only"]',
    "start.seed=0",
    "loss.lambda_adv=0.001,0.1",
    "seed=0,1",
    "trainer.steps=3",
    "trainer.evaluate_every=3",
    "trainer.log_every=1",
)
TRIALS = [
    "lambda_adv=0.001 seed=0 #0",
    "lambda_adv=0.001 seed=1 #1",
    "lambda_adv=0.1 seed=0 #2",
    "lambda_adv=0.1 seed=1 #3",
]


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, with Debian's driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason='pip install -e ".[dev]"')
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("no browser here (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location, driver = programs
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.add_argument("--window-size=1600,1200")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Where a sweep was run, and MLflow has all of it."""
    folder = tmp_path_factory.mktemp("sweep")
    done = launch(folder, *SWEEP)
    assert done.returncode == 0, done.stderr
    if "task=sync" in done.stderr:
        assert launch(folder, "task=sync").returncode == 0
    (found,) = (folder / "outputs/studies").iterdir()
    return found


@pytest.fixture(scope="module")
def site(study) -> Iterator[str]:
    """The address of ``make ui`` for the sweep."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    command = ["mlflow", "ui", "--workers", "1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--backend-store-uri", DATABASE],
        cwd=study.parents[2],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def answers() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/health", timeout=1).status == 200
        except OSError:
            return False

    try:
        until(answers, process)
        yield f"http://127.0.0.1:{port}/#/"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def runs(study) -> dict[str, str]:
    """The id of every run by its name."""
    client = connect(f"sqlite:///{study.parents[1]}/mlflow.db")
    experiment = client.get_experiment_by_name("uda_hydra").experiment_id
    return {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}


@pytest.fixture
def visit(browser, site):
    """Open a page and wait until it has what is asked for: ``visit(page, script)``."""
    from selenium.webdriver.support.ui import WebDriverWait

    def go(page: str, wanted: str) -> object:
        browser.get("about:blank")
        browser.get(site + page)
        waiting = WebDriverWait(browser, 90)
        return waiting.until(lambda driver: driver.execute_script(wanted), f"{page}: {wanted}")

    return go


def trials(study: Path) -> str:
    """The page whose address the sweep prints."""
    return link(study).partition("#/")[2]


def test_the_study_is_the_only_run_at_the_top(study, visit):
    names = visit(
        "experiments/1/runs?workflowType=machine_learning",
        "const names = [...document.querySelectorAll('a')].map(a => a.textContent);"
        f"return names.includes('{study.name}') && names",
    )
    assert not {*TRIALS} & {*names}


def test_the_trials_are_found_beside_each_other(study, visit):
    names = visit(
        trials(study),
        "const names = [...document.querySelectorAll('a')].map(a => a.textContent);"
        f"return names.filter(n => n.includes('seed=')).length >= {len(TRIALS)} && names",
    )
    assert {f"{trial} advent" for trial in TRIALS} <= {*names}
    assert not {*TRIALS} & {*names}


def test_the_columns_are_the_objective_and_what_is_swept(study, visit):
    heads = visit(
        trials(study),
        "const heads = [...document.querySelectorAll('[role=columnheader]')]"
        ".map(h => h.textContent); return heads.includes('loss.lambda_adv') && heads",
    )
    assert {"miou/last", "loss.lambda_adv", "seed", "trial", "state"} <= {*heads}
    assert "Source" not in heads


def test_a_chart_has_a_bar_for_every_trial(study, visit, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    # A saved view that names no charts has none; the same search in the experiment has them all.
    box = visit(
        f"experiments/1/runs?searchFilter={quote(search(study.name))}&compareRunsMode=CHART",
        "return document.querySelector('input[placeholder*=\"metric charts\"]')",
    )
    box.send_keys("miou/last")
    bars = (By.CSS_SELECTOR, ".js-plotly-plot .bars .point")
    shown = WebDriverWait(browser, 90)
    assert shown.until(lambda d: len(d.find_elements(*bars)) == len(TRIALS))


def test_trials_are_compared_by_what_differs_and_not_by_their_folders(visit, runs):
    ids = quote(str([runs[name] for name in TRIALS]).replace("'", '"'))
    chosen = visit(
        f"compare-runs?runs={ids}&experiments=%5B%221%22%5D",
        "const items = [...document.querySelectorAll('[class*=select-selection-item-content]')];"
        "return items.length > 0 && items.map(i => i.textContent)",
    )
    assert {*chosen} == {"loss.lambda_adv", "seed", "miou/last"}


def test_the_report_opens_with_its_figures(study, visit, runs, browser):
    frame = visit(
        f"experiments/1/runs/{runs[study.name]}/artifacts/report/report.html",
        "return document.querySelector('iframe')",
    )
    browser.switch_to.frame(frame)
    text, widths = browser.execute_script(
        "return [document.body.innerText, [...document.images].map(i => i.naturalWidth)]"
    )
    assert study.name in text and "Robust range of loss.lambda_adv" in text
    assert len(widths) >= 2 and min(widths) > 300
    browser.switch_to.default_content()


def test_the_study_says_what_it_asks_and_found(study, visit, runs):
    text = visit(
        f"experiments/1/runs/{runs[study.name]}",
        "const text = document.body.innerText;"
        "return text.includes('Description') && text.includes('side by side') && text",
    )
    assert "best loss.lambda_adv" in text and "robust range" in text
