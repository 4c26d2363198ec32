"""Unsupervised domain adaptation of semantic segmentation, sweepable."""
