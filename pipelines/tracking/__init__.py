"""Runs, metrics, pictures and models in MLflow. The one home of mlflow."""

import logging
import os

# MLflow reads these when it is first imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# The hundred migrations that fill a new SQLite store are no news to a user.
for _name in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.WARNING)
