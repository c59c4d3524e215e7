"""Each protocol against a direct, slow one: image by image, view by view, of the stored pixels."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import models
from models.classifier import Classifier
from pipelines.config import InputError, LoaderSettings, ProtocolSettings
from pipelines.dataset.lookup import split_keys, stored_images
from pipelines.evaluation.protocols import grid_places, showing
from pipelines.images.transforms import resize, shorter_side_to
from pipelines.loading.loader import Loader

SIDE = 32
AS_TRAINED = LoaderSettings.model_validate({"val_transforms": [{"kind": "centre_crop", "size": SIDE}]}).val_transforms


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Classifier(models.create("lenet5_modern", 10, 1), [0.3], [0.3]).eval()


@pytest.fixture(scope="module")
def images(digits):
    """Stored images by key, some of them."""
    keys = sorted(split_keys(digits.root, digits.manifest, "val"))[:12]
    return stored_images(digits.root, digits.manifest, "val", set(keys))


@dataclass
class Drawn:
    sizes: NDArray[np.int64]


@dataclass
class Whole:
    """A batch of images of several sizes, one place of it padding."""

    images: torch.Tensor
    labels: torch.Tensor
    keys: tuple[str, ...]
    drawn: Drawn = field(init=False)

    @staticmethod
    def of(arrays):
        sizes = np.array([array.shape[:2] for array in arrays])
        images = torch.full((len(arrays) + 1, *sizes.max(0), 1), 77, dtype=torch.uint8)  # no zeros: nobody may look
        for place, array in enumerate(arrays):
            images[place, : array.shape[0], : array.shape[1]] = torch.from_numpy(array)
        labels = torch.arange(len(arrays) + 1) % 10
        batch = Whole(images, labels, (*(f"k{place}" for place in range(len(arrays))), ""))
        batch.drawn = Drawn(sizes)
        return batch


def arrays(*sizes):
    draws = np.random.default_rng(4)
    return [draws.integers(0, 256, (*size, 1)).astype(np.uint8) for size in sizes]


def mean_probabilities(model, views):
    with torch.no_grad():
        return model(torch.from_numpy(np.stack(views))).softmax(1).mean(0)


def predicted(protocol, *batches):
    ((keys, labels, logits),) = protocol.predict([batches])
    return keys, labels, logits.softmax(1)


def show(model, kind, **settings):
    return showing(ProtocolSettings(kind=kind, **settings), model, (SIDE, SIDE), AS_TRAINED)


def loaded(digits, protocol, global_batch=64, rank=0, workers=1):
    """The batches of every scale, as jobs/evaluate.py has them."""
    return zip(
        *(
            Loader(
                digits.root, digits.manifest, "val",
                LoaderSettings(global_batch=global_batch, lanes=1, val_transforms=transforms),
                rank=rank, workers=workers, pad_to_largest=protocol.whole,
            ).epoch(0)
            for transforms in protocol.transforms
        ),
        strict=True,
    )  # fmt: skip


def by_key(predictions):
    return {key: row for keys, _, logits in predictions for key, row in zip(keys, logits.softmax(1), strict=True)}


def at_scale(image, scale):
    return resize(image, *shorter_side_to(*image.shape[:2], scale)) if scale else image


def centre(image):
    top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
    return [image[top : top + SIDE, left : left + SIDE]]


def ten(image):
    bottom, right = image.shape[0] - SIDE, image.shape[1] - SIDE
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = [image[top : top + SIDE, left : left + SIDE] for top, left in corners]
    return crops + [crop[:, ::-1] for crop in crops]


@pytest.mark.parametrize(
    ("kind", "scales", "views_of"),
    [
        ("as_trained", (), centre),
        ("centre_crop", (), centre),
        ("centre_crop", (39,), centre),
        ("ten_crop", (40,), ten),
        ("ten_crop", (36, 40), ten),
    ],
)
def test_crops_are_those_cut_by_hand(digits, model, images, kind, scales, views_of):
    protocol = show(model, kind, test_scales=scales)
    found = by_key(protocol.predict(loaded(digits, protocol)))
    assert found.keys() == split_keys(digits.root, digits.manifest, "val")
    for key, image in images.items():
        of_scales = [mean_probabilities(model, views_of(at_scale(image, scale))) for scale in scales or (None,)]
        torch.testing.assert_close(found[key], torch.stack(of_scales).mean(0), atol=1e-5, rtol=1e-4)


def fifty(image, grid, flip):
    views = []
    for row in range(grid):
        for column in range(grid):
            top = round(row * (image.shape[0] - SIDE) / (grid - 1))
            left = round(column * (image.shape[1] - SIDE) / (grid - 1))
            crop = image[top : top + SIDE, left : left + SIDE]
            views += [crop, crop[:, ::-1]] if flip else [crop]
    return views


@pytest.mark.parametrize(("grid", "flip", "views"), [(5, True, 50), (3, False, 9)])
def test_multi_crop_is_the_mean_over_a_grid_of_crops_cut_by_hand(model, grid, flip, views):
    originals = arrays((40, 51), (36, 32), (40, 51), (32, 47))
    keys, labels, found = predicted(show(model, "multi_crop", grid=grid, flip=flip), Whole.of(originals))
    assert keys == ["k0", "k1", "k2", "k3"]
    assert labels.tolist() == [0, 1, 2, 3]
    for image, row in zip(originals, found, strict=True):
        crops = fifty(image, grid, flip)
        assert len(crops) == views
        torch.testing.assert_close(row, mean_probabilities(model, crops), atol=1e-5, rtol=1e-4)


def slid(model, image):
    """The probabilities of the mean score over crops, 4 pixels apart, as LeNet-5's two poolings make it."""
    crops = [
        image[top : top + SIDE, left : left + SIDE]
        for top in range(0, image.shape[0] - SIDE + 1, 4)
        for left in range(0, image.shape[1] - SIDE + 1, 4)
    ]
    with torch.no_grad():
        scores = model(torch.from_numpy(np.ascontiguousarray(np.stack(crops))))
    return scores.mean(0).softmax(0)


@pytest.mark.parametrize("flip", [True, False])
def test_dense_is_the_network_slid_over_the_image(model, flip):
    originals = arrays((40, 52), (36, 33), (40, 52))
    _, _, found = predicted(show(model, "dense", flip=flip), Whole.of(originals))
    for image, row in zip(originals, found, strict=True):
        twins = [image, image[:, ::-1]] if flip else [image]
        expected = torch.stack([slid(model, twin) for twin in twins]).mean(0)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_scales_of_whole_images_are_averaged(digits, model, images):
    protocol = show(model, "dense", test_scales=(33, 41), flip=False)
    found = by_key(protocol.predict(loaded(digits, protocol)))
    for key, image in images.items():
        expected = torch.stack([slid(model, at_scale(image, scale)) for scale in (33, 41)]).mean(0)
        torch.testing.assert_close(found[key], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["as_trained", "ten_crop", "dense"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_image_is_predicted_once_by_any_number_of_workers(digits, model, kind, workers):
    protocol = show(model, kind)
    of_workers = [
        [key for keys, _, _ in protocol.predict(loaded(digits, protocol, 100, rank, workers)) for key in keys]
        for rank in range(workers)
    ]
    keys = sorted(key for keys in of_workers for key in keys)
    assert keys == sorted(split_keys(digits.root, digits.manifest, "val"))
    assert len(keys) % workers or workers == 1, "or there is no padding to be left out"


def test_crops_of_a_network_for_other_shapes_need_a_side(model):
    with pytest.raises(InputError, match=r"trained on images of 20 x 30, and crops are square: set protocol\.crop"):
        showing(ProtocolSettings(kind="ten_crop"), model, (20, 30), ())


def test_a_whole_image_smaller_than_the_network_is_named(model):
    with pytest.raises(InputError, match=r"image k1 is 40 x 31, smaller than the 32 x 32 that the network looks at"):
        predicted(show(model, "dense"), Whole.of(arrays((40, 40), (40, 31))))


def test_grids_begin_and_end_at_the_edges():
    assert grid_places(32, 5) == [0, 8, 16, 24, 32]
    assert grid_places(0, 3) == [0, 0, 0]
    assert grid_places(9, 1) == [4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "as_trained", "test_scales": [256]}, "not for protocol.kind = as_trained"),
        ({"kind": "dense", "crop": 224}, "dense, which takes whole images"),
        ({"kind": "dense", "test_scales": [256, 256]}, "each scale once"),
    ],
)
def test_protocols_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ProtocolSettings.model_validate(settings)


def test_labels_tell_protocols_apart():
    assert ProtocolSettings().label == "as_trained"
    assert ProtocolSettings(kind="dense", test_scales=(256, 384)).label == "dense-256-384"
    assert ProtocolSettings(kind="dense", flip=False).label == "dense-unflipped"
    assert ProtocolSettings(kind="multi_crop", crop=200).label == "multi_crop-crop200-grid5"
