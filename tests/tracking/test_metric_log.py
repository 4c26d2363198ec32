from __future__ import annotations

import errno
import math

from uda_hydra.tracking.formatting import flatten, legal
from uda_hydra.tracking.metric_log import METRICS, MetricLog, read


class FullDisk:
    """A file that takes ``room`` more bytes, then none."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken

    def close(self):
        self.file.close()


def steps(folder):
    return [point.step for point in read(folder / METRICS, 0).points]


def test_lines_come_back_as_they_were_logged(tmp_path):
    log = MetricLog(tmp_path, 0)
    log.append(1, {"loss/seg": 0.1, "speed": float("nan")})
    (point,), end, _ = read(tmp_path / METRICS, 0)
    assert (point.step, point.values["loss/seg"]) == (1, 0.1)
    assert point.values["speed"] != point.values["speed"]
    log.append(2, {"loss/seg": 1e-17})
    (point,), end, _ = read(tmp_path / METRICS, end)
    assert (point.step, point.values) == (2, {"loss/seg": 1e-17})
    assert read(tmp_path / METRICS, end) == ([], end, 0)
    log.close()


def test_what_stays_in_the_folder_is_kept_apart(tmp_path):
    log = MetricLog(tmp_path, 0)
    for step in (1, 2):
        log.append(step, {"a": 1.0}, {"b": float("nan")})
    log.close()
    # A resume writes the lines that it keeps again.
    MetricLog(tmp_path, 1).close()
    (point,) = read(tmp_path / METRICS, 0).points
    assert (point.values, point.local.keys()) == ({"a": 1.0}, {"b"})
    assert math.isnan(point.local["b"])


def test_a_resume_forgets_what_will_be_computed_again(tmp_path):
    log = MetricLog(tmp_path, 0)
    for step in (1, 2, 3, 4):
        log.append(step, {"a": float(step)})
    log.close()
    MetricLog(tmp_path, 2).close()
    assert steps(tmp_path) == [1, 2]
    MetricLog(tmp_path, 0).close()
    assert steps(tmp_path) == []


def test_a_line_that_was_cut_short_is_no_line(tmp_path):
    whole = '{"step": 1, "time": 5, "values": {"a": 1.0}}\n'
    (tmp_path / METRICS).write_text(whole + '{"step": 2, "ti')
    assert steps(tmp_path) == [1]
    log = MetricLog(tmp_path, 2)
    assert (tmp_path / METRICS).read_text() == whole
    log.append(2, {"a": 2.0})
    log.close()
    assert steps(tmp_path) == [1, 2]


def test_a_full_disk_holds_lines_back_and_loses_none(tmp_path, caplog):
    log = MetricLog(tmp_path, 0)
    real = log._file
    log.append(1, {"a": 1.0})
    log._file = FullDisk(real, room=10)
    for step in (2, 3, 4):
        log.append(step, {"a": 1.0})
    assert steps(tmp_path) == [1]
    assert caplog.text.count(str(tmp_path)) == 1
    log._file = real
    log.append(5, {"a": 1.0})
    log.close()
    assert steps(tmp_path) == [1, 2, 3, 4, 5]


def test_the_end_makes_a_last_attempt_and_tells_what_is_lost(tmp_path, caplog):
    log = MetricLog(tmp_path, 0)
    log._file = FullDisk(log._file, room=0)
    log.append(1, {"a": 1.0})
    log._file.room = 999
    log.close()
    assert steps(tmp_path) == [1]
    assert "lost" not in caplog.text
    log = MetricLog(tmp_path, 1)
    log._file = FullDisk(log._file, room=10)
    log.append(2, {"a": 1.0})
    log.append(3, {"a": 1.0})
    log.close()
    assert f"2 lines of {METRICS} in {tmp_path} are lost" in caplog.text


def test_nested_config_becomes_dotted_names():
    config = {"trainer": {"steps": 8, "compile": False}, "lr": [0.1, 0.2], "init": None, "e": {}}
    assert flatten(config) == {
        "trainer.steps": "8",
        "trainer.compile": "false",
        "lr": "[0.1, 0.2]",
        "init": "null",
        "e": "{}",
    }


def test_names_keep_only_what_mlflow_allows():
    assert legal("iou/traffic light: a-b_c.d") == "iou/traffic light: a-b_c.d"
    assert legal("a(b)=c,é") == "a_b__c_é"
    assert len(legal("x" * 300)) == 250
