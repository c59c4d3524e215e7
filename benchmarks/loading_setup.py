"""What must be there before benchmarks/loading.py measures: the dataset, its JPEG files, environments and formats.

Everything is made when first asked for. The environments are kept apart from .venv, since hardly two of these projects
agree on numpy, torch and setuptools. The formats are written by the peers' own writers, in their own environments:

    python -m benchmarks.loading_setup NAME FILES DATA    # FILES/label/name.jpg, DATA an empty folder

Every format of the peers holds the bytes of the files as they are; nothing is encoded a second time.
"""

import io
import random
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]


class Environment(NamedTuple):
    steps: tuple[str, ...]
    """What `pip install` is given, one call each."""
    debian: str = ""
    """Packages of Debian that it is compiled with; they are not installed here."""


ENVIRONMENTS = {
    "ffcv": Environment(
        (
            "torch==2.13.0 numpy<2 numba opencv-python-headless==4.10.0.84 pillow tqdm psutil",
            "setuptools<70 wheel",  # a step of its own: torch asks for a newer one, which FFCV's setup.py cannot use
            "--no-deps --no-build-isolation ffcv==1.0.2",
        ),
        debian="g++ pkg-config libopencv-dev libturbojpeg0-dev",
    ),
    "dali": Environment(("nvidia-dali-cuda120==2.4.0",)),
    "torch": Environment(
        ("torch==2.13.0 torchvision==0.28.0 webdataset==1.0.2 mosaicml-streaming==0.13.0 litdata==0.2.76",)
    ),
}


class FailedError(RuntimeError):
    """A child process did not do its work; the message is one line of why."""


def python_of(name: str, folder: Path) -> Path:
    """The Python of environment `name` below `folder`, installed if it is not there yet; of "", this one.

    Raises FailedError.
    """
    if not name:
        return Path(sys.executable)
    environment, place = ENVIRONMENTS[name], folder / name
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.exists() or ready.read_text() != repr(environment):
        print(f"installing {name} in {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        for step in environment.steps:
            _install(python, step, environment.debian)
        ready.write_text(repr(environment))
    return python


def _install(python: Path, step: str, debian: str) -> None:
    try:
        output_of(python, "-m", "pip", "install", "--quiet", *step.split())
    except FailedError as error:
        needs = f" (it needs Debian's {debian})" if debian else ""
        raise FailedError(f"pip install {step}{needs}: {error}") from None


def output_of(*command: object, timeout_s: float = 1800) -> str:
    """What the command prints, run where it finds benchmarks/. Raises FailedError with the last of its errors."""
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"not done after {timeout_s:.0f} s") from None
    if done.returncode:
        said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        errors = [line for line in said if "error" in line.lower()]
        raise FailedError((errors or said or [f"exit status {done.returncode}"])[-1][:200])
    return done.stdout


def import_torchvision() -> None:
    """Beside a torch without CUDA its compiled part does not load, and its import then misses two schemas."""
    import torch

    schemas = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        schemas.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(schemas)


_KEPT: list[Any] = []
"""Schemas go with the object that defined them."""


# --- the dataset and its files ------------------------------------------------------------------


def once(folder: Path, write: Callable[[Path], object]) -> Path:
    """`folder`, written if it is not there yet."""
    if not folder.exists():
        print(f"writing {folder}", file=sys.stderr, flush=True)
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        part.rename(folder)
    return folder


def dataset_of(originals: Path, images: int, cache: Path, cores: int) -> Path:
    """Made by our own job of the originals, replicated. For a process of its own, since that then holds Spark."""
    from benchmarks.job import IMAGE, replicate, run_job, settings_for, start_session
    from pipelines.config import digest_of
    from pipelines.dataset.manifest import FORMAT_VERSION

    def write(folder: Path) -> None:
        replicate(originals, images, folder / "source")
        spark = start_session(cores)
        run_job(spark, settings_for(folder / "source", folder / "dataset"))
        spark.stop()
        shutil.rmtree(folder / "source")

    made_by = digest_of([str(originals.resolve()), FORMAT_VERSION, IMAGE.model_dump(mode="json")])
    return once(cache / f"{made_by[:12]}-{images}", write) / "dataset"


def write_files(originals: Path, images: int, folder: Path) -> None:
    """The dataset's images as everybody else stores them: folder/label/number.jpg, the same without restart markers.

    They decode to the same pixels, are 3% smaller, and spare the others what the markers cost them.
    """
    from benchmarks.job import IMAGES_PER_CLASS, originals_in

    plain = [_plain(original) for original in originals_in(originals)]
    for number in range(images):
        place = folder / f"{number // IMAGES_PER_CLASS:05d}" / f"{number:07d}.jpg"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(plain[number % len(plain)])


def _plain(original: Path) -> bytes:
    import cv2

    from benchmarks.job import IMAGE
    from pipelines.images.transforms import resize
    from pipelines.preprocess.image import read_image, target_size

    decoded = read_image(original.read_bytes(), IMAGE)
    pixels = resize(decoded.pixels, *target_size(decoded.height, decoded.width, IMAGE))
    options = {
        cv2.IMWRITE_JPEG_QUALITY: IMAGE.quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    }
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [word for option in options.items() for word in option]
    )
    return bytes(encoded)


# --- the files in a peer's own format -----------------------------------------------------------


def write_ffcv(files: Path, data: Path) -> None:
    """FFCV's own field would decode and encode again; this one stores the bytes of the file."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    class Stored(RGBImageField):  # type: ignore[misc]
        def encode(self, destination: Any, file: Path, malloc: Any) -> None:
            encoded = file.read_bytes()
            with Image.open(file) as image:
                destination["width"], destination["height"] = image.size
            destination["mode"] = 0  # JPEG
            destination["data_ptr"], place = malloc(len(encoded))
            place[:] = memoryview(encoded)

    writer = DatasetWriter(str(data / "images.beton"), {"image": Stored(), "label": IntField()}, num_workers=2)
    writer.from_indexed_dataset(_shuffled(files))


def write_webdataset(files: Path, data: Path) -> None:
    """Tars of pairs: name.jpg, name.cls."""
    rows = _shuffled(files)
    for number in range(shards := 8):
        with tarfile.open(data / f"{number:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for file, label in rows[number::shards]:
                for suffix, content in ((".jpg", file.read_bytes()), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(file.stem + suffix)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def write_streaming(files: Path, data: Path) -> None:
    """MDS. Its `jpeg` stores the file that Pillow has open as it is."""
    import_torchvision()
    from PIL import Image
    from streaming import MDSWriter

    with MDSWriter(out=str(data / "mds"), columns={"image": "jpeg", "label": "int"}) as writer:
        for file, label in _shuffled(files):
            with Image.open(file) as image:
                writer.write({"image": image, "label": label})


def write_litdata(files: Path, data: Path) -> None:
    """Chunks of bytes, for what its own type of image is decoded with needs torchvision's compiled part."""
    from litdata import optimize

    optimize(_litdata_row, _shuffled(files), str(data / "chunks"), chunk_bytes="64MB", num_workers=2)


def _litdata_row(row: tuple[Path, int]) -> dict[str, Any]:
    return {"image": row[0].read_bytes(), "label": row[1]}


def _shuffled(files: Path) -> list[tuple[Path, int]]:
    rows = [(file, int(file.parent.name)) for file in sorted(files.rglob("*.jpg"))]
    random.Random(0).shuffle(rows)
    return rows


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "ffcv": write_ffcv,
    "webdataset": write_webdataset,
    "streaming": write_streaming,
    "litdata": write_litdata,
}
"""Of the peers that have a format; the others read the files, or Strata's own dataset."""


if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
