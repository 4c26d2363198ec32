"""Imported by multiprocessing's fork server: what is forked from it starts at once."""

import gc

from tests.attack import program

program.load()
# No forked process looks for rubbish in what they all share.
gc.freeze()
