"""How a dataset becomes batches: the loader of jobs/train.py and jobs/evaluate.py."""

from pydantic import Field, model_validator

from pipelines.config.base import Settings
from pipelines.config.transforms import RandomResizedCrop, TenCrop, Transform


class ProgressiveSettings(Settings):
    """Crops that grow as training goes on, as in FFCV's and fast.ai's ImageNet recipes."""

    start_size: int = Field(128, ge=1)
    """Side of the training crop in the first epochs; in the last ones it is random_resized_crop's own size."""
    first_epoch: int = Field(0, ge=0)
    """Counted from 0: where the size begins to grow."""
    last_epoch: int = Field(ge=1)
    """The first epoch that has the full size."""
    multiple: int = Field(32, ge=1)
    """Sizes between are rounded to a multiple of this."""

    @model_validator(mode="after")
    def _grows(self) -> "ProgressiveSettings":
        if self.first_epoch >= self.last_epoch:
            raise ValueError(
                f"loader.progressive: first_epoch = {self.first_epoch} must come before last_epoch = {self.last_epoch}"
            )
        return self

    def size(self, epoch: int, full_size: int) -> int:
        """Side of the training crop in that epoch, in pixels."""
        if epoch >= self.last_epoch:
            return full_size
        progress = max(0, epoch - self.first_epoch) / (self.last_epoch - self.first_epoch)
        size = self.start_size + (full_size - self.start_size) * progress
        return min(full_size, max(self.start_size, round(size / self.multiple) * self.multiple))


class LoaderSettings(Settings):
    global_batch: int = Field(256, ge=1)
    """Images in one step over all workers together."""
    lanes: int = Field(16, ge=1)
    """Equal strands an epoch is cut into. Divides global_batch; the number of workers divides it. More of them mix
    better; together the workers hold lanes * window_row_groups row groups of encoded images in memory."""
    window_row_groups: int = Field(4, ge=1)
    """Row groups of a lane whose rows are shuffled together."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, for each worker."""
    reader_threads: int = Field(2, ge=1)
    """Threads that read Parquet, for each worker."""
    readahead_row_groups: int = Field(4, ge=1)
    """Row groups that each worker reads before they are needed."""
    prefetch_batches: int = Field(2, ge=1)
    """Batches made ahead of the step that needs them."""
    train_transforms: tuple[Transform, ...] = ()
    """Applied to training images, in order; random ones are drawn by (seed, epoch, row)."""
    val_transforms: tuple[Transform, ...] = ()
    """Applied to validation images, in order."""
    progressive: ProgressiveSettings | None = None
    """Let the size of the random_resized_crop in train_transforms grow with the epoch."""

    @model_validator(mode="after")
    def _lanes_share_a_batch(self) -> "LoaderSettings":
        if self.global_batch % self.lanes:
            raise ValueError(
                f"loader.global_batch = {self.global_batch} is no multiple of loader.lanes = {self.lanes}: "
                "every lane gives the same number of rows to a batch"
            )
        return self

    @model_validator(mode="after")
    def _views_come_last(self) -> "LoaderSettings":
        if any(isinstance(transform, TenCrop) for transform in (*self.train_transforms, *self.val_transforms[:-1])):
            raise ValueError("ten_crop makes ten images of one: it can only be the last of loader.val_transforms")
        return self

    @model_validator(mode="after")
    def _progressive_has_a_crop(self) -> "LoaderSettings":
        crops = [step.size for step in self.train_transforms if isinstance(step, RandomResizedCrop)]
        if self.progressive and not crops:
            raise ValueError("loader.progressive needs a random_resized_crop in loader.train_transforms")
        if self.progressive and self.progressive.start_size > min(crops):
            raise ValueError(
                f"loader.progressive.start_size = {self.progressive.start_size} is above the full size, {min(crops)}"
            )
        return self

    def train_transforms_in(self, epoch: int) -> tuple[Transform, ...]:
        """Those of one epoch, counted from 0: they differ where loader.progressive is set."""
        if self.progressive is None:
            return self.train_transforms
        return tuple(
            step.model_copy(update={"size": self.progressive.size(epoch, step.size)})
            if isinstance(step, RandomResizedCrop)
            else step
            for step in self.train_transforms
        )
