"""Unsupervised domain adaptation of semantic segmentation, sweepable."""

import os

# Threads that wait for work must not keep the cores of a busy machine from others. Read once, when
# torch is loaded; what the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
