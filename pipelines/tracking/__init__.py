"""Runs, metrics, pictures and models in MLflow. The one home of mlflow."""

import logging
import os

# MLflow reads these when it is first imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# When a run ends, MLflow prints its address: with the password, if the server's address has one.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# Models of ours are graphs and tensors: a model's file that would run code when it is loaded is refused.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# A server that is down is said to be down in seconds, not minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
# The hundred migrations that fill a new SQLite store are no news to a user.
for _name in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.WARNING)
