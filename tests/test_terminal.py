"""Standard streams that fail cost text, never a training."""

from __future__ import annotations

import os
import sys

from uda_hydra.terminal import LastingStream, written_to


def test_a_broken_pipe_drops_the_text_and_nothing_else():
    reader, writer = os.pipe()
    raw = os.fdopen(writer, "w")
    stream = LastingStream(raw)
    print("first", file=stream, flush=True)
    assert os.read(reader, 9) == b"first\n"
    os.close(reader)
    print("second", file=stream, flush=True)
    print("third", file=stream)
    stream.flush()
    assert not stream.isatty()
    raw.close()


def test_what_a_trial_prints_is_in_its_file_and_added_to_it(tmp_path, capsys):
    path = tmp_path / "trials/0000/output.txt"
    for text in ("first", "second"):
        with written_to(path):
            print(text)
            print("warning", file=sys.stderr)
    with written_to(None):
        print("seen")
    assert path.read_text() == "first\nwarning\nsecond\nwarning\n"
    assert capsys.readouterr() == ("seen\n", "")
