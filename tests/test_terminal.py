"""Standard streams that fail cost text, never a training."""

from __future__ import annotations

import os
import sys

from uda_hydra.terminal import LastingStream, labelled, written_to


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
    with labelled("trial 3: "):
        print("seen", end="")
        print(" twice\nand", "again", file=sys.stdout)
        assert not sys.stdout.isatty()
    assert path.read_text() == "first\nwarning\nsecond\nwarning\n"
    assert capsys.readouterr() == ("trial 3: seen twice\ntrial 3: and again\n", "")
