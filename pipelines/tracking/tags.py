"""Names of the tags that a run carries."""

KIND_TAG = "strata.kind"
"""`training`, `group` (of trainings that one command made) or `ensemble`."""

LAYERS_TAG, PARAMETERS_TAG = "strata.layers", "strata.parameters"
"""Of the network: layers with weights on the longest way from image to logits, and weights and biases."""

CHECKPOINT_TAG = "strata.checkpoint"

SPOOL_TAG = "strata.spool"
"""What a run's spool knows it by."""

PARENT_TAG = "mlflow.parentRunId"

NOTE_TAG = "mlflow.note.content"
"""Of a run or an experiment: its description on the dashboard, in Markdown."""


def child_tags(parent: str) -> dict[str, str]:
    """Of a run that the dashboard shows under another. `evaluation` is what makes it open the parent's row at once."""
    return {PARENT_TAG: parent, "mlflow.runType": "evaluation"}
