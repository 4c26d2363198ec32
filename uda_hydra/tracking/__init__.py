"""The MLflow client: a log beside each run, and what sends it."""
