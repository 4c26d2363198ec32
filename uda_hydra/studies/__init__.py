"""Sensitivity studies: resumable Optuna sweeps of trainings, and the report of their analysis."""
