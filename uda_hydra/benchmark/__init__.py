"""``python -m uda_hydra.benchmark``: what this code costs beside the plain way of doing things."""
