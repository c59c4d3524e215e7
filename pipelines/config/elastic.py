"""How a training under horovodrun's elastic mode keeps going while workers are lost and join."""

from pydantic import Field

from pipelines.config.base import Settings


class ElasticSettings(Settings):
    """Of `horovodrun --min-np … --host-discovery-script …` alone; without that mode none of this matters.

    Training is done by numbers of workers that divide loader.lanes; with another they wait for some to join or leave.
    """

    commit_every_steps: int = Field(50, ge=1)
    """Every worker keeps the state of the training in its memory after so many steps, counted through all epochs, and
    at each checkpoint. When a worker is lost the others go back to the newest such state: at the most so many steps are
    done again."""
    trusted_network: bool = False
    """true: allow other interfaces than the loopback. In elastic mode Horovod's launcher and workers listen without
    asking who calls, and run what a caller hides in a pickle (CVE-2024-10190): whoever reaches their ports owns the
    hosts. Only for networks on which every machine, and everybody on it, is trusted."""
