"""Names of the tags that a run carries."""

KIND_TAG = "strata.kind"
"""`training` or `ensemble`."""

CHECKPOINT_TAG = "strata.checkpoint"

SPOOL_TAG = "strata.spool"
"""What a run's spool knows it by."""

PARENT_TAG = "mlflow.parentRunId"
