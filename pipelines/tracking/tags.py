"""Names of the tags that a run carries."""

KIND_TAG = "strata.kind"
"""`training` or `ensemble`."""

LAYERS_TAG, PARAMETERS_TAG = "strata.layers", "strata.parameters"
"""Of the network: layers with weights on the longest way from image to logits, and weights and biases."""

CHECKPOINT_TAG = "strata.checkpoint"

SPOOL_TAG = "strata.spool"
"""What a run's spool knows it by."""

PARENT_TAG = "mlflow.parentRunId"
