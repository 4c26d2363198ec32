"""``python -m uda_hydra.benchmark``: the cost of this code compared with the plain way."""
