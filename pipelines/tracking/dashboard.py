"""Where on the dashboard the experiments of a store are, for people who have just started its server.

    python -m pipelines.tracking.dashboard sqlite:///work/mlflow.db http://127.0.0.1:5000

prints a line for each.
"""

import sys

from pipelines.config import InputError, TrackingSettings
from pipelines.tracking.store import connect, experiment_id
from pipelines.tracking.view import address

MOST = 10


def addresses(uri: str, server: str) -> dict[str, str]:
    """By name, of the experiments that have runs, the newest first, and no more than `MOST`.

    Gives them their view where they have none. Raises InputError if the store cannot be opened.
    """
    settings = TrackingSettings(uri=uri)
    client = connect(settings)
    found: dict[str, str] = {}
    for experiment in client.search_experiments(order_by=["creation_time DESC"]):
        if len(found) < MOST and client.search_runs([experiment.experiment_id], max_results=1):
            known = experiment_id(client, settings.model_copy(update={"experiment": experiment.name}))
            found[experiment.name] = f"{server}/{address(known)}"
    return found


if __name__ == "__main__":
    try:
        for name, where in addresses(*sys.argv[1:]).items():
            print(f"{name}: {where}")
    except InputError as error:
        sys.exit(f"error: {error}")
