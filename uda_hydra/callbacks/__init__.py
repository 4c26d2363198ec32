"""Callbacks observe a training and never change it: progress, pictures."""
