"""What MLflow's dashboard shows first: a view of an experiment in which errors are columns, and its address.

Left to itself the dashboard opens an experiment as if it were one of language models, and its table of runs has no
metric. Columns cannot be set for everybody, but a view can: a tag of the experiment, found under Views and by address.
"""

import json

from pipelines.tracking.tags import NOTE_TAG

VIEW, VIEW_NAME = "strata", "Ensembles and members"
_ERRORS = tuple(f"metrics.`{name}`" for name in ("eval_top1_error", "eval_top5_error", "val_top1_error", "eval_loss"))
_OTHERS = ("params.`seed`", "metrics.`images_per_s`", "attributes.`Models`", "attributes.`Dataset`")
_WIDTHS = {"attributes.`Run Name`": 270, "runDateAndNestInfo": 130, **dict.fromkeys(_ERRORS, 120)}
"""Of columns, in pixels, in the order in which they begin."""


def experiment_tags(experiment: str) -> dict[str, str]:
    """The view and a description that leads to it, for an experiment's id."""
    columns = [*_ERRORS, *_OTHERS]
    state = {"selectedColumns": columns, "columnOrder": [*_WIDTHS, *_OTHERS], "columnWidths": _WIDTHS}
    view = {"name": VIEW_NAME, "createdAt": 0, "state": json.dumps(state)}
    return {
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        NOTE_TAG: f"[{VIEW_NAME}, with their errors]({address(experiment)})",
    }


def address(experiment: str) -> str:
    """Of the view, after the dashboard's own address. The nesting of runs lasts while they are sorted by time."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
