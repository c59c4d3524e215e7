import numpy as np
import pytest

from pipelines.config import (
    Affine,
    CentreCrop,
    ColourJitter,
    InputError,
    Pad,
    PcaLighting,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitter,
)
from pipelines.images.augmentation import Augmentation
from pipelines.images.steps import PrincipalComponents
from pipelines.images.transforms import resize, warp


def image(height, width):
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


def apply(transform, pixels, seed=0):
    return Augmentation([transform])(pixels, np.random.default_rng(seed))


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
    once, again = (Augmentation(steps)(image(9, 9), np.random.default_rng(3)) for _ in range(2))
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


# --- resizing -----------------------------------------------------------------------------------


def test_shrinking_averages_areas():
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    assert np.unique(resize(checkerboard, 32, 32)).tolist() == [128]


def test_enlarging_is_cubic_and_keeps_the_channel_axis():
    ramp = np.arange(0, 200, 10, dtype=np.uint8)[None, :, None].repeat(9, 0)
    enlarged = resize(ramp, 18, 40)
    assert enlarged.shape == (18, 40, 1)
    inner = enlarged[9, 4:-4, 0].astype(int)
    assert np.abs(np.diff(inner) - 5).max() <= 1  # a ramp stays a ramp


def crop(seed, pixels, **changes):
    return apply(RandomResizedCrop(kind="random_resized_crop", size=8, **changes), pixels, seed)


def position_image(height, width):
    """Pixels that tell where they were: rows in the first channel, columns in the second."""
    rows, cols = np.mgrid[0:height, 0:width]
    return np.stack([rows, cols, rows * 0], -1).astype(np.uint8)


def test_random_resized_crop_keeps_area_and_ratio_within_their_ranges():
    shares, ratios = [], []
    for seed in range(300):
        part = crop(seed, position_image(200, 240)).astype(float)
        height, width = ((part[-1, 0, 0] - part[0, 0, 0]) * 8 / 7, (part[0, -1, 1] - part[0, 0, 1]) * 8 / 7)
        shares.append(height * width / (200 * 240))
        ratios.append(width / height)
    assert 0.06 < min(shares) < 0.12
    assert 0.85 < max(shares) < 1.02
    assert 0.70 < min(ratios) < 0.80
    assert 1.25 < max(ratios) < 1.40


def test_random_resized_crop_of_the_whole_image_is_a_resize():
    pixels = image(16, 16)
    assert (crop(0, pixels, scale=(1, 1), ratio=(1, 1)) == resize(pixels, 8, 8)).all()


def test_random_resized_crop_of_an_image_too_narrow_takes_the_middle():
    part = crop(0, position_image(8, 200), scale=(1, 1))
    assert abs(part[0, :, 1].mean() - 99.5) < 1


def test_scale_jitter_gives_every_shorter_side_in_its_range():
    sides = {apply(ScaleJitter(kind="scale_jitter", low=6, high=9), image(12, 18), seed).shape for seed in range(100)}
    assert sides == {(6, 9, 3), (7, 10, 3), (8, 12, 3), (9, 14, 3)}


# --- affine distortions -------------------------------------------------------------------------


def affine(**settings):
    return Augmentation([Affine(kind="affine", **settings)])


def matrices(count=500, side=28, **settings):
    """(count, 2, 3): what was drawn."""
    augmentation, draws = affine(**settings), np.random.default_rng(0)
    drawn = augmentation.draw(draws.random((count, augmentation.draws)), np.full((count, 2), side))
    return np.array([drawn.of(index)[0][1] for index in range(count)])


def test_an_affine_distortion_of_nothing_changes_nothing():
    assert (affine()(image(7, 9), np.random.default_rng(0)) == image(7, 9)).all()
    assert not affine().steps[0].changes(tuple(map(tuple, matrices(1)[0])))


def by_definition(pixels, matrix, border):
    """Each pixel of the result, looked up where it came from, linearly between four pixels."""
    height, width, _ = pixels.shape
    around = np.pad(pixels.astype(float), ((1, 1), (1, 1), (0, 0)), constant_values=border)
    back, shift = np.linalg.inv(matrix[:, :2]), matrix[:, 2]
    result = np.full(pixels.shape, float(border))
    for row, column in np.ndindex(height, width):
        centred = np.array([column - (width - 1) / 2, row - (height - 1) / 2])
        across, down = back @ (centred - shift) + [(width - 1) / 2, (height - 1) / 2]
        left, top = int(np.floor(across)), int(np.floor(down))
        if -1 <= left < width and -1 <= top < height:
            share_x, share_y = across - left, down - top
            four = around[top + 1 : top + 3, left + 1 : left + 3]
            weights = np.outer([1 - share_y, share_y], [1 - share_x, share_x])
            result[row, column] = (four * weights[:, :, None]).sum((0, 1))
    return result


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [0, 200])
def test_an_image_is_moved_as_its_matrix_says_and_the_border_comes_in(channels, border):
    pixels = np.random.default_rng(1).integers(0, 256, (11, 8, channels), np.uint8)
    for matrix in matrices(10, 8, translation=0.2, scale=(0.8, 1.2), squeeze=0.2, shear=0.3):
        moved = warp(pixels, tuple(map(tuple, matrix)), border)
        assert moved.dtype == np.uint8
        expected = by_definition(pixels, matrix, border)
        assert np.abs(moved - expected).max() < 255 * 2 / 32 + 1  # OpenCV places pixels to 1/32


def test_translations_reach_their_share_of_either_side_and_whole_ones_lose_nothing():
    moved = matrices(translation=0.1)
    assert (moved[:, :, :2] == np.eye(2)).all()
    assert np.abs(moved[:, :, 2]).max(0) == pytest.approx([2.8, 2.8], abs=0.05)
    assert np.abs(moved[:, :, 2].mean(0)).max() < 0.25
    assert abs(np.corrcoef(moved[:, 0, 2], moved[:, 1, 2])[0, 1]) < 0.15
    pixels = image(6, 6)
    right_and_up = warp(pixels, ((1, 0, 2), (0, 1, -1)), 0)
    assert (right_and_up[:5, 2:] == pixels[1:, :4]).all()
    assert right_and_up[5].sum() == right_and_up[:, :2].sum() == 0


def test_scaling_keeps_the_shape_and_squeezing_the_area():
    scaled = matrices(scale=(0.8, 1.25))
    assert (scaled[:, 0, 0] == scaled[:, 1, 1]).all()
    assert (scaled[:, 0, 0].min(), scaled[:, 0, 0].max()) == pytest.approx((0.8, 1.25), rel=0.01)
    assert np.median(scaled[:, 0, 0]) == pytest.approx(1, abs=0.03)
    squeezed = matrices(squeeze=0.25)
    assert squeezed[:, 0, 0] * squeezed[:, 1, 1] == pytest.approx(1)
    assert (squeezed[:, 0, 0].min(), squeezed[:, 0, 0].max()) == pytest.approx((0.8, 1.25), rel=0.01)


def test_shearing_moves_rows_sideways_by_how_far_they_are_from_the_middle():
    sheared = matrices(shear=0.3)
    assert (sheared[:, 1] == [0, 1, 0]).all()
    assert (sheared[:, 0, 1].min(), sheared[:, 0, 1].max()) == pytest.approx((-0.3, 0.3), abs=0.01)
    upright = np.zeros((9, 9, 1), np.uint8)
    upright[:, 4] = 255
    slanted = warp(upright, ((1, 0.5, 0), (0, 1, 0)), 0)
    assert slanted[::2, :, 0].argmax(1).tolist() == [2, 3, 4, 5, 6]


def test_affine_distortions_write_where_they_are_told_to():
    pixels, augmentation = image(7, 9), affine(translation=0.2, shear=0.2)
    out = np.zeros_like(pixels)
    drawn = augmentation.draw(np.full((1, 5), 0.9), np.array([[7, 9]]))
    drawn.apply(0, pixels, out)
    step, parameters = drawn.of(0)[0]
    assert (out == warp(pixels, parameters, 0)).all()
    assert step.apply(pixels, parameters, out) is out


@pytest.mark.parametrize("scale", [(1.1, 0.9), (0, 1)])
def test_a_scale_that_does_not_rise_from_above_0_is_refused(scale):
    with pytest.raises(ValueError, match="must rise from above 0"):
        Affine(kind="affine", scale=scale)


# --- colours ------------------------------------------------------------------------------------


def jitter(seed, pixels, **changes):
    return apply(ColourJitter(kind="colour_jitter", **changes), pixels, seed)


def test_colour_jitter_of_nothing_changes_nothing():
    assert (jitter(0, image(5, 5)) == image(5, 5)).all()


def test_brightness_scales_all_pixels_alike():
    pixels = np.full((4, 4, 3), 100, np.uint8)
    levels = [int(jitter(seed, pixels, brightness=0.5)[0, 0, 0]) for seed in range(200)]
    assert 50 <= min(levels) < 55
    assert 145 < max(levels) <= 150


def test_contrast_keeps_the_mean_and_changes_the_spread():
    pixels = np.repeat(np.array([[80, 120]], np.uint8), 2, 0)[:, :, None]
    spreads = set()
    for seed in range(50):
        changed = jitter(seed, pixels, contrast=0.5).astype(int)
        assert abs(changed.mean() - 100) <= 1
        spreads.add(int(np.ptp(changed)))
    assert min(spreads) < 24
    assert max(spreads) > 56


def test_saturation_keeps_grey_grey_and_can_take_all_colour():
    grey = np.full((3, 3, 3), 90, np.uint8)
    assert (jitter(1, grey, saturation=1) == 90).all()
    spreads = [int(np.ptp(jitter(seed, image(1, 1), saturation=1)[0, 0])) for seed in range(100)]
    assert min(spreads) < 20 < max(spreads)


def test_hue_turns_colours_and_leaves_brightness():
    red = np.full((2, 2, 3), [200, 0, 0], np.uint8)
    seen = {tuple(jitter(seed, red, hue=0.5)[0, 0].tolist()) for seed in range(100)}
    assert len(seen) > 40
    assert {max(colour) for colour in seen} == {200}


def test_grey_images_take_brightness_and_contrast_only():
    pixels = image(4, 4)[:, :, :1]
    assert jitter(0, pixels, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3).shape == (4, 4, 1)


def lit(seed, std=0.1):
    step = PcaLighting(kind="pca_lighting", std=std)
    three = PrincipalComponents((0.2, 0.02, 0.0), ((0.6, 0.8, 0.0), (0.8, -0.6, 0.0), (0.0, 0.0, 1.0)))
    pixels = np.full((2, 2, 3), 128, np.uint8)
    return Augmentation([step], three)(pixels, np.random.default_rng(seed)).astype(int) - 128


def test_pca_lighting_shifts_all_pixels_along_the_components_as_far_as_their_eigenvalues_say():
    shifts = np.array([lit(seed)[0, 0] for seed in range(2000)])
    assert (np.ptp(np.array([lit(seed) for seed in range(20)]), axis=(1, 2)) == 0).all()
    assert (shifts[:, 2] == 0).all()
    first, second = shifts[:, :2] @ [0.6, 0.8], shifts[:, :2] @ [0.8, -0.6]
    assert first.std() == pytest.approx(0.1 * 0.2 * 255, rel=0.1)
    assert second.std() == pytest.approx(0.1 * 0.02 * 255, rel=0.4)  # rounding to whole levels counts here
    assert abs(shifts.mean()) < 0.3


def test_pca_lighting_stays_within_a_byte():
    pixels = np.full((1, 1, 3), 255, np.uint8)
    step = PcaLighting(kind="pca_lighting", std=5000)
    three = PrincipalComponents((1.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    levels = {int(Augmentation([step], three)(pixels, np.random.default_rng(seed))[0, 0, 0]) for seed in range(20)}
    assert levels == {0, 255}
