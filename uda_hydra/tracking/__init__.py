"""The MLflow client: a log in each run's folder, and what sends it to a store."""
