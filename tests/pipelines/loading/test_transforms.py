import numpy as np
import pytest

from pipelines.config import CentreCrop, InputError, Pad, RandomCrop, RandomFlip
from pipelines.loading.transforms import compose


def image(height, width):
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


def apply(transform, pixels, seed=0):
    return compose([transform])(pixels, np.random.default_rng(seed))


def test_pad_centres_the_image_on_black():
    padded = apply(Pad(kind="pad", size=6), image(4, 2))
    assert padded.shape == (6, 6, 3)
    assert (padded[1:5, 2:4] == image(4, 2)).all()
    assert padded.astype(int).sum() == image(4, 2).astype(int).sum()


def test_centre_crop_takes_the_middle():
    assert (apply(CentreCrop(kind="centre_crop", size=2), image(6, 4)) == image(6, 4)[2:4, 1:3]).all()


def test_random_crop_reaches_every_corner_of_the_padded_image():
    crops = [apply(RandomCrop(kind="random_crop", size=4, padding=1), image(4, 4), seed) for seed in range(100)]
    padded = np.pad(image(4, 4), ((1, 1), (1, 1), (0, 0)))
    expected = {padded[top : top + 4, left : left + 4].tobytes() for top in range(3) for left in range(3)}
    assert {crop.tobytes() for crop in crops} == expected


def test_random_flip_mirrors_about_as_often_as_asked():
    pixels = image(3, 3)
    flipped = sum(
        (apply(RandomFlip(kind="random_flip", probability=0.25), pixels, s) != pixels).any() for s in range(400)
    )
    assert 70 <= flipped <= 130


def test_transforms_run_in_order_and_repeat_for_the_same_draws():
    steps = [RandomCrop(kind="random_crop", size=5), RandomFlip(kind="random_flip"), Pad(kind="pad", size=8)]
    once, again = (compose(steps)(image(9, 9), np.random.default_rng(3)) for _ in range(2))
    assert once.shape == (8, 8, 3)
    assert (once == again).all()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Pad(kind="pad", size=3), "pad to 3 pixels: the image is 4 x 4, larger"),
        (CentreCrop(kind="centre_crop", size=5), "crop of 5 pixels: the image is 4 x 4, smaller"),
        (RandomCrop(kind="random_crop", size=7, padding=1), "crop of 7 pixels: the image is 6 x 6, smaller"),
    ],
)
def test_an_image_of_the_wrong_size_is_refused(transform, message):
    with pytest.raises(InputError, match=message):
        apply(transform, image(4, 4))
