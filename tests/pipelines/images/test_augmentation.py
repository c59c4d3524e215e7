import numpy as np
import pytest
from pydantic import TypeAdapter

from pipelines.config import InputError, LoaderSettings, Transform
from pipelines.images.augmentation import Augmentation, replay
from pipelines.images.codec import decode, encode
from pipelines.images.steps import PrincipalComponents, UnfitError
from pipelines.images.transforms import resample

RGB = PrincipalComponents((0.2, 0.02, 0.01), ((0.6, 0.8, 0.0), (0.8, -0.6, 0.0), (0.0, 0.0, 1.0)))
GREY = PrincipalComponents((0.2,), ((1.0,),))

KINDS = [
    {"kind": "pad", "size": 50},
    {"kind": "centre_crop", "size": 20},
    {"kind": "random_crop", "size": 20},
    {"kind": "random_crop", "size": 20, "padding": 4},
    {"kind": "random_flip"},
    {"kind": "random_resized_crop", "size": 24},
    {"kind": "random_resized_crop", "size": 24, "interpolation": "area"},
    {"kind": "resize", "size": 25},
    {"kind": "scale_jitter", "low": 20, "high": 40},
    {"kind": "multi_scale", "sizes": [20, 30]},
    {"kind": "colour_jitter", "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
    {"kind": "pca_lighting", "std": 0.5},
    {"kind": "ten_crop", "size": 20},
]


def augmentation(*kinds, channels=3):
    transforms = [TypeAdapter(Transform).validate_python(kind) for kind in kinds]
    return Augmentation(transforms, RGB if channels == 3 else GREY)


def picture(channels=3, height=32, width=44):
    return np.random.default_rng(channels).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_an_image_is_the_same_drawn_alone_or_among_others_applied_to_pixels_or_decoded_into_its_place(kind, channels):
    steps, pixels = augmentation(kind, channels=channels), picture(channels)
    uniforms = np.random.default_rng(0).random((5, steps.draws))
    together = steps.draw(uniforms, np.array([pixels.shape[:2]] * 5))
    stored = encode(pixels, "png", 90)
    for index in range(5):
        alone = steps.draw(uniforms[index : index + 1], np.array([pixels.shape[:2]]))
        expected = replay(pixels, alone.of(0))
        views = (10,) if steps.makes_views else ()
        out = np.full((*views, *together.sizes[index], channels), 7, np.uint8)
        together.apply(index, together.decode(index, stored, channels), out)
        assert expected.shape == out.shape
        assert (expected == out).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_other_numbers_draw_other_images_where_there_is_chance(kind):
    steps = augmentation(kind)
    images = {steps(picture(), np.random.default_rng(seed)).tobytes() for seed in range(12)}
    assert (len(images) > 1) == (steps.draws > 0)


def test_resizing_and_multi_scale_give_the_shorter_sides_asked_for():
    assert augmentation({"kind": "resize", "size": 16})(picture(), np.random.default_rng(0)).shape == (16, 22, 3)
    multi = augmentation({"kind": "multi_scale", "sizes": [16, 24, 48]})
    shapes = {multi(picture(), np.random.default_rng(seed)).shape for seed in range(40)}
    assert shapes == {(16, 22, 3), (24, 33, 3), (48, 66, 3)}


def test_ten_crops_are_corners_and_centre_and_their_mirror_images():
    pixels = picture(height=10, width=14)
    crops = augmentation({"kind": "ten_crop", "size": 6})(pixels, np.random.default_rng(0))
    corners = [(0, 0), (0, 8), (4, 0), (4, 8), (2, 4)]
    for number, (top, left) in enumerate(corners):
        assert (crops[number] == pixels[top : top + 6, left : left + 6]).all()
        assert (crops[number + 5] == pixels[top : top + 6, left : left + 6][:, ::-1]).all()


def test_resampling_averages_where_a_side_shrinks_to_half_or_less_and_wherever_it_shrinks_if_asked():
    checkerboard = (np.indices((60, 60)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    assert np.unique(resample(checkerboard, 30, 30)).tolist() == [128]
    assert len(np.unique(resample(checkerboard, 45, 45))) > 1  # not averaged
    means = [resample(checkerboard, 40, 40, how).astype(float).std() for how in ("linear", "area")]
    assert means[1] < means[0]  # averaging flattens a checkerboard more than interpolating between pixels does


def test_a_crop_from_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    rows, cols = np.mgrid[0:400, 0:400]
    smooth = np.stack([rows / 2, cols / 2, 0 * rows], -1).astype(np.uint8)
    steps = augmentation({"kind": "random_resized_crop", "size": 40, "scale": [0.5, 1]})
    stored = encode(smooth, "jpeg", 95)
    drawn = steps.draw(np.random.default_rng(1).random((3, steps.draws)), np.array([[400, 400]] * 3))
    for index in range(3):
        decoded = drawn.decode(index, stored, 3)
        assert max(decoded.shape) <= 100
        out = np.empty((40, 40, 3), np.uint8)
        drawn.apply(index, decoded, out)
        assert np.abs(out.astype(int) - replay(decode(stored, 3), drawn.of(index))).max() <= 4


def test_an_image_of_the_wrong_size_is_told_by_its_place():
    steps = augmentation({"kind": "random_crop", "size": 20})
    with pytest.raises(UnfitError, match="crop of 20 pixels: the image is 19 x 30, smaller") as error:
        steps.draw(np.zeros((3, 2)), np.array([[20, 20], [40, 20], [19, 30]]))
    assert error.value.index == 2


def test_no_images_draw_nothing():
    for kind in KINDS:
        steps = augmentation(kind)
        assert steps.draw(np.empty((0, steps.draws)), np.empty((0, 2), np.int64)).parameters == []


def test_pca_lighting_draws_from_a_normal_distribution():
    steps = augmentation({"kind": "pca_lighting", "std": 1}, channels=1)
    drawn = steps.draw(np.random.default_rng(0).random((20_000, steps.draws)), np.ones((20_000, 2), np.int64))
    normal = np.array(drawn.parameters)[:, 0, 0] / (0.2 * 255)
    assert abs(normal.mean()) < 0.03
    assert normal.std() == pytest.approx(1, abs=0.03)
    assert np.mean(np.abs(normal) > 2) == pytest.approx(0.0455, abs=0.006)
    assert not np.isinf(normal).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_transforms": [KINDS[-1]]}, "ten_crop makes ten images of one"),
        ({"val_transforms": [KINDS[-1], KINDS[4]]}, "only be the last of loader.val_transforms"),
        ({"progressive": {"last_epoch": 3}}, "needs a random_resized_crop"),
        ({"progressive": {"first_epoch": 3, "last_epoch": 3}}, "must come before last_epoch"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises((InputError, ValueError), match=message):
        LoaderSettings.model_validate(settings)
