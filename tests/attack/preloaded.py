"""Imported by multiprocessing's fork server: what is forked from it starts at once."""

from tests.attack import program

program.load()
