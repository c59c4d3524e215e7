"""The whole of scoring: a source and a model to a folder of classes that appears when it is whole."""

import os
import time
from collections.abc import Sequence

from pyspark.sql import SparkSession

from pipelines.config import ImageSettings, InputError, ScoreOutputSettings, ScoreSettings, digest_of
from pipelines.dataset.logged_model import LoggedModel, ModelMetadata
from pipelines.dataset.manifest import Manifest, sha256_of
from pipelines.images.augmentation import Augmentation
from pipelines.images.steps import PrincipalComponents
from pipelines.preprocess.records import FileRecord, Journal, reasons, refuse_too_many, rejects_of, told, write_rejects
from pipelines.preprocess.sources.listing import Listing
from pipelines.preprocess.waves import Waves, cut
from pipelines.scoring.files import Preparation, ScoreFiles
from pipelines.scoring.network import Network
from pipelines.scoring.output import FOLDER, JOURNAL, Output, Report
from pipelines.scoring.source import Images, find_images

_FILES, _FEWEST, _MOST = 128, 256, 4096
"""Of files, and of images in one, where the settings do not say."""
_NOT_ASKED = {"model", "source", "output", "batch", "threads", "max_reject_fraction", "tracking"}
"""Settings that make no difference to the scores, or are there by what they led to."""


def score(spark: SparkSession, settings: ScoreSettings, model: LoggedModel) -> Report:
    """Score every image that `settings` name and publish their classes; if they are there already, only say so.

    Raises InputError if there are no images, they do not suit the model, too many are rejected, a file cannot be
    written, or the output is another job's. What was scored before that is kept, and the same call goes on after it.
    The model's folder must last as long as the session works for this call.
    """
    _check_repeatable(model)
    images = find_images(settings.source)
    if images.dataset is not None:
        _check_dataset(images.dataset, images.listing.description, model)
    graph_digest = sha256_of(model.graph)
    output = Output.of(settings.output.path, _identity(settings, model.metadata, graph_digest, images.listing))
    if (made := output.published()) is not None:
        print(f"{output.target} holds these very scores already", flush=True)
        return made
    if output.finished() is None:
        network = Network(_hand_out(spark, model, graph_digest), model.metadata.output, settings.threads)
        output.finish(_score(spark, settings, model, images, network, output))
    return output.publish()


def _check_repeatable(model: LoggedModel) -> None:
    nothing = PrincipalComponents((0.0,), ((0.0,),))
    if Augmentation(model.metadata.transforms, nothing).draws:
        raise InputError(f"{model.uri}: its val_transforms draw at random, so no image has one answer")


def _check_dataset(dataset: Manifest, name: str, model: LoggedModel) -> None:
    """Raise an InputError if the model cannot take its images; say so if it would have stored them otherwise."""
    expected = model.input_shape[2]
    if dataset.channels != expected:
        raise InputError(
            f"{name} has images of {dataset.channels} channels, {model.uri} takes {expected}: give the raw images as "
            "source.path"
        )
    stored = ImageSettings.model_validate(dataset.configuration["image"]).flat()
    own = model.metadata.image.flat()
    if differ := [f"image.{key} = {stored[key]}, not {own[key]}" for key in own if stored[key] != own[key]]:
        print(f"note: {name} is stored otherwise than what {model.uri} was trained on: {', '.join(differ)}", flush=True)


def _identity(settings: ScoreSettings, metadata: ModelMetadata, graph_digest: str, listing: Listing) -> str:
    """Digest of the model, the images and all settings that the output depends on."""
    per_file = images_per_file(len(listing.items), settings.output)
    model = [graph_digest, metadata.model_dump(mode="json")]
    return digest_of([model, listing.fingerprint, settings.model_dump(mode="json", exclude=_NOT_ASKED), per_file])


def images_per_file(images: int, settings: ScoreOutputSettings) -> int:
    """Of the settings, or so that even few images occupy several tasks, and many do not become many small files."""
    return settings.images_per_file or min(_MOST, max(_FEWEST, -(-images // _FILES)))


def _hand_out(spark: SparkSession, model: LoggedModel, graph_digest: str) -> str:
    """The name by which tasks have the graph as a file, which each machine fetches once."""
    named = model.graph.with_name(f"{digest_of([graph_digest, str(model.graph)])[:16]}.pt2")
    if not named.exists():
        os.link(model.graph, named)
    spark.sparkContext.addFile(str(named))
    return named.name


def _score(
    spark: SparkSession, settings: ScoreSettings, model: LoggedModel, images: Images, network: Network, output: Output
) -> Report:
    listing = images.listing
    total = len(listing.items) + len(listing.rejects)
    print(f"{listing.description}: {len(listing.items)} images, to be scored by {model.uri}", flush=True)
    per_file = images_per_file(len(listing.items), settings.output)
    files = list(cut(f"{FOLDER}/part", listing.items, (0,), per_file))
    writer = ScoreFiles(
        folder=output.unfinished,
        network=network,
        prepare=Preparation(model.metadata, model.input_shape, images.dataset is not None),
        read=listing.read,
        root=listing.root,
        batch=settings.batch,
        top=settings.top,
    )
    journal = Journal(output.unfinished / JOURNAL)
    before = {record.path for record in journal.read()}

    def check(records: Sequence[FileRecord]) -> None:
        refuse_too_many(_rejects(records, listing), total, settings.max_reject_fraction, output.unfinished)

    start = time.monotonic()
    records = Waves(spark, journal, check, settings.output.files_per_wave).write(files, writer)
    seconds = time.monotonic() - start
    rejects = _rejects(records, listing)
    write_rejects(rejects, output.unfinished)
    if len(rejects) == total:
        raise InputError(f"no image is usable: {told(rejects, output.unfinished)}")
    return Report(
        identity=output.identity,
        model=model.uri,
        source=listing.description,
        scored=sum(sum(record.row_groups) for record in records),
        rejected=reasons(rejects),
        images_of_this_run=sum(task.rows for task in files if task.path not in before),
        seconds=seconds,
        settings=settings.shown(),
    )


def _rejects(records: Sequence[FileRecord], listing: Listing) -> list[dict[str, str]]:
    return [reject._asdict() for reject in listing.rejects] + rejects_of(records)
