"""How a dataset becomes batches: the loader of jobs/train.py and jobs/evaluate.py."""

from pydantic import Field, model_validator

from pipelines.config.base import Settings
from pipelines.config.transforms import Transform


class LoaderSettings(Settings):
    global_batch: int = Field(256, ge=1)
    """Images in one step over all workers together."""
    lanes: int = Field(16, ge=1)
    """Equal strands an epoch is cut into. Divides global_batch; the number of workers divides it."""
    window_row_groups: int = Field(4, ge=1)
    """Row groups of a lane whose rows are shuffled together."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, for each worker."""
    reader_threads: int = Field(2, ge=1)
    """Threads that read Parquet, for each worker."""
    prefetch_batches: int = Field(2, ge=1)
    """Batches made ahead of the step that needs them."""
    train_transforms: tuple[Transform, ...] = ()
    """Applied to training images, in order; random ones are drawn by (seed, epoch, row)."""
    val_transforms: tuple[Transform, ...] = ()
    """Applied to validation images, in order."""

    @model_validator(mode="after")
    def _lanes_share_a_batch(self) -> "LoaderSettings":
        if self.global_batch % self.lanes:
            raise ValueError(
                f"loader.global_batch = {self.global_batch} is no multiple of loader.lanes = {self.lanes}: "
                "every lane gives the same number of rows to a batch"
            )
        return self
