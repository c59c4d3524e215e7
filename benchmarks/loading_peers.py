"""Other projects' loaders of the same JPEG files, each as its own documentation sets it up for speed on processors.

benchmarks/loading.py runs this module with the Python of a peer's own environment, so nothing of Strata's packages is
imported here. It prints one line of JSON:

    python -m benchmarks.loading_peers NAME FILES DATA --cores 2 --batch 128 --epochs 1

All do the same work: a random part of 8% to 100% of the area with a ratio of 3/4 to 4/3, to 224 x 224, mirrored half
of the times, in uint8 batches (N, H, W, C) or (N, C, H, W), whichever is the peer's own. Each keeps its own filter.
"""

import argparse
import io
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.loading_setup import import_torchvision

SIDE = 224
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)

Epoch = Callable[[], Iterable[Any]]
"""One epoch: arrays or tensors of images, a batch each."""
Start = Callable[[], Epoch]
"""Makes the loader, from nothing but what has been imported."""

_SHUFFLED_ROWS = 1024
"""In the buffers of those that shuffle in one."""


class Work(NamedTuple):
    files: Path
    """label/name.jpg"""
    data: Path
    """The same in the peer's own format, where it has one."""
    cores: int = 2
    batch: int = 128


def measure(start: Start, epochs: int) -> dict[str, Any]:
    """Seconds from nothing to the first batch and, after a whole epoch, what each further one took."""
    begin = time.perf_counter()
    epoch = start()
    batches = iter(epoch())
    first = next(batches)
    first_s = time.perf_counter() - begin
    assert "uint8" in str(first.dtype), first.dtype
    assert sorted(first.shape[1:]) == [3, SIDE, SIDE], first.shape
    for _ in batches:
        pass
    return {"first_s": first_s, "epochs": [timed(lambda: sum(map(len, epoch()))) for _ in range(epochs)]}


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    """The images that it made, its seconds, and the processor's seconds over all threads and child processes."""
    begin, cpu_before_s = time.perf_counter(), _cpu_s()
    images = work()
    return images, time.perf_counter() - begin, _cpu_s() - cpu_before_s


def _cpu_s() -> float:
    """Of this process and all below it so far, as Linux counts it; on a shared machine it varies less than time."""
    ticks, processes = 0, [os.getpid()]
    for process in processes:
        folder = Path("/proc", str(process))
        with suppress(OSError):  # it has ended meanwhile, and its parent counts it
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
            for thread in (folder / "task").iterdir():
                processes += map(int, (thread / "children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


# --- one file of all, read by threads in C or compiled code -------------------------------------


def ffcv(work: Work) -> Start:
    from ffcv.fields import RGBImageField
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage

    def start() -> Epoch:
        image = [RandomResizedCropRGBImageDecoder((SIDE, SIDE), SCALE, RATIO), RandomHorizontalFlip(0.5)]
        loader = Loader(
            str(work.data / "images.beton"),
            batch_size=work.batch,
            num_workers=work.cores,
            os_cache=True,
            order=OrderOption.RANDOM,
            pipelines={
                "image": [*image, ToTensor(), ToTorchImage()],
                "label": [IntDecoder(), ToTensor(), Squeeze()],
            },
            custom_fields={"image": RGBImageField},  # its file has Stored, a type of ours
        )
        return lambda: (images for images, _ in loader)

    return start


def dali(work: Work) -> Start:
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=work.batch, num_threads=work.cores, device_id=None)  # type: ignore[untyped-decorator]
    def pipeline() -> Any:
        encoded, labels = fn.readers.file(file_root=str(work.files), random_shuffle=True, name="files")
        parts = fn.decoders.image_random_crop(
            encoded, random_area=SCALE, random_aspect_ratio=RATIO, num_attempts=10
        )  # decodes no more than the part
        images = fn.resize(parts, size=(SIDE, SIDE))
        return fn.flip(images, horizontal=fn.random.coin_flip()), labels

    def start() -> Epoch:
        loader = pipeline()
        loader.build()
        steps = loader.reader_meta("files")["epoch_size"] // work.batch
        return lambda: (loader.run()[0].as_array() for _ in range(steps))

    return start


# --- processes of torch's DataLoader -----------------------------------------------------------


def _transform() -> Callable[[Any], Any]:
    """Pillow image to tensor, then torchvision's transforms of the second version, on uint8 as it recommends."""
    import_torchvision()
    from torchvision.transforms import v2

    transform: Callable[[Any], Any] = v2.Compose(
        [v2.PILToTensor(), v2.RandomResizedCrop(SIDE, SCALE, RATIO, antialias=True), v2.RandomHorizontalFlip()]
    )
    return transform


def torchvision(work: Work) -> Start:
    transform = _transform()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    def start() -> Epoch:
        dataset = ImageFolder(work.files, transform)
        loader = DataLoader(
            dataset, work.batch, shuffle=True, num_workers=work.cores, persistent_workers=True, drop_last=True
        )
        return lambda: (images for images, _ in loader)

    return start


def webdataset(work: Work) -> Start:
    transform = _transform()
    from webdataset import WebDataset, WebLoader

    def start() -> Epoch:
        shards = [str(file) for file in sorted(work.data.glob("*.tar"))]
        dataset = WebDataset(shards, shardshuffle=len(shards)).shuffle(_SHUFFLED_ROWS).decode("pil")
        batches = dataset.to_tuple("jpg", "cls").map_tuple(transform, int).batched(work.batch)
        loader = WebLoader(batches, batch_size=None, num_workers=work.cores, persistent_workers=True)
        return lambda: (images for images, _ in loader)

    return start


def streaming(work: Work) -> Start:
    transform = _transform()
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    class Rows(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            row = super().__getitem__(at)
            return transform(row["image"]), row["label"]

    def start() -> Epoch:
        dataset = Rows(local=str(work.data / "mds"), shuffle=True, batch_size=work.batch)
        loader: Any = DataLoader(dataset, work.batch, num_workers=work.cores, persistent_workers=True, drop_last=True)
        return lambda: (images for images, _ in loader)

    return start


def litdata(work: Work) -> Start:
    transform = _transform()
    from litdata import StreamingDataLoader, StreamingDataset
    from PIL import Image

    class Rows(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> Any:
            row = super().__getitem__(index)
            return transform(Image.open(io.BytesIO(row["image"]))), row["label"]

    def start() -> Epoch:
        dataset = Rows(str(work.data / "chunks"), shuffle=True, drop_last=True)
        loader = StreamingDataLoader(dataset, batch_size=work.batch, num_workers=work.cores, persistent_workers=True)
        return lambda: (images for images, _ in loader)

    return start


# --- Petastorm's own ---------------------------------------------------------------------------


def petastorm(work: Work) -> Start:
    import cv2
    import numpy as np
    from petastorm import TransformSpec, make_reader
    from petastorm.pytorch import DataLoader

    cv2.setNumThreads(0)

    def crop(row: dict[str, Any]) -> dict[str, Any]:
        image = row["image"]
        top, left, height, width = _random_part(*image.shape[:2])
        part = image[top : top + height, left : left + width]
        resized = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        row["image"] = cv2.flip(resized, 1) if random.random() < 0.5 else resized
        return row

    changes = TransformSpec(
        crop, edit_fields=[("image", np.uint8, (SIDE, SIDE, 3), False)], selected_fields=["image", "label"]
    )

    def epoch() -> Iterator[Any]:
        # A reader an epoch, as in its examples: a loader that goes round again repeats the rows of its last batch.
        reader = make_reader(
            work.data.as_uri(),
            schema_fields=["image", "label"],
            workers_count=work.cores,  # threads, which is its default
            num_epochs=1,
            transform_spec=changes,
        )
        with DataLoader(reader, work.batch, shuffling_queue_capacity=_SHUFFLED_ROWS) as loader:
            yield from (batch["image"] for batch in loader)

    return lambda: epoch


def _random_part(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height, width: torchvision's rule."""
    for _ in range(10):
        area = height * width * random.uniform(*SCALE)
        aspect = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        part_height, part_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < part_height <= height and 0 < part_width <= width:
            return (
                random.randint(0, height - part_height),
                random.randint(0, width - part_width),
                part_height,
                part_width,
            )
    part_height, part_width = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


# --- what benchmarks/loading.py runs ------------------------------------------------------------


class Peer(NamedTuple):
    title: str
    package: str
    environment: str
    """Of benchmarks/loading_setup.py; empty: Strata's own."""
    work: str
    """How it decodes and resizes, for people."""
    load: Callable[[Work], Start]


_TORCH = "Pillow; bilinear, widened where it shrinks (torchvision v2)"
_FFCV = "libjpeg-turbo, fast DCT; area, bilinear where it enlarges (OpenCV)"
_DALI = "libjpeg-turbo, the part alone; bilinear, widened where it shrinks"

PEERS = {
    "ffcv": Peer("FFCV", "ffcv", "ffcv", _FFCV, ffcv),
    "dali": Peer("DALI on the processor", "nvidia-dali-cuda120", "dali", _DALI, dali),
    "torchvision": Peer("torchvision's ImageFolder", "torchvision", "torch", _TORCH, torchvision),
    "webdataset": Peer("WebDataset", "webdataset", "torch", _TORCH, webdataset),
    "streaming": Peer("MosaicML Streaming", "mosaicml-streaming", "torch", _TORCH, streaming),
    "litdata": Peer("LitData", "litdata", "torch", _TORCH, litdata),
    "petastorm": Peer("Petastorm's DataLoader", "petastorm", "", "libjpeg-turbo; bilinear (OpenCV)", petastorm),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading_peers")
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("files", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=1)
    asked = parser.parse_args()
    peer = PEERS[asked.name]
    start = peer.load(Work(asked.files, asked.data, asked.cores, asked.batch))
    print(json.dumps({"version": version(peer.package), **measure(start, asked.epochs)}))


if __name__ == "__main__":
    main()
