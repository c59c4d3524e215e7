import numpy as np
import pytest

from pipelines.config import AugmentSettings, ImageSettings, InputError
from pipelines.images.augmentation import Augmentation
from pipelines.images.codec import decode, encode
from pipelines.images.steps import PrincipalComponents
from pipelines.images.transforms import resize, shorter_side_to
from pipelines.preprocess.image import Reject, process
from pipelines.preprocess.variants import Variants

PNG = ImageSettings(format="png", size=64)
STEPS = [
    {"kind": "random_resized_crop", "size": 48},
    {"kind": "random_flip"},
    {"kind": "colour_jitter", "contrast": 0.4},
]
COMPONENTS = PrincipalComponents((0.2, 0.02, 0.01), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def variants(image=PNG, components=None, seed=0, **augment):
    return Variants(image, AugmentSettings.model_validate(augment), seed, components)


def picture(height=100, width=150):
    rows, cols = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2, cols, (rows * cols) % 256], -1).astype(np.uint8)


RAW = encode(picture(), "png", 90)


def test_variant_0_is_the_image_as_it_is_stored_without_augmentation():
    made = variants(variants=2, steps=STEPS, multi_scale=[32]).make(RAW, "key", 0)
    assert made.encoded == process(RAW, PNG).encoded


def test_the_numbers_are_scales_then_random_variants():
    asked = variants(variants=2, steps=STEPS, multi_scale=[32, 64, 96])
    assert asked.names == (
        "the image itself",
        "shorter side 32",
        "shorter side 96",  # 64 is the image itself
        "random 1: random_resized_crop + random_flip + colour_jitter",
        "random 2: random_resized_crop + random_flip + colour_jitter",
    )
    sizes = [decode(asked.make(RAW, "key", number).encoded, 3).shape[:2] for number in range(5)]
    assert sizes == [(64, 96), (32, 48), (96, 144), (48, 48), (48, 48)]


def test_a_variant_is_the_same_wherever_and_whenever_it_is_made():
    asked = {"variants": 2, "steps": STEPS}
    assert variants(**asked).make(RAW, "key", 1).encoded == variants(**asked).make(RAW, "key", 1).encoded


def test_seed_key_and_number_each_make_another_variant():
    asked = {"variants": 2, "steps": STEPS}
    made = {
        variants(**asked, seed=seed).make(RAW, key, number).encoded
        for seed in (0, 1)
        for key in ("a", "b")
        for number in (1, 2)
    }
    assert len(made) == 8


def test_the_steps_are_the_loaders_own_functions():
    asked = variants(variants=1, steps=STEPS)
    rng = np.random.Generator(np.random.Philox(counter=[0, 0, 0, 1], key=[0, asked.draws_of("key")]))
    expected = Augmentation(asked.augment.steps)(picture(), rng)
    assert (decode(asked.make(RAW, "key", 1).encoded, 3) == expected).all()


def test_a_first_step_that_chooses_a_size_works_on_the_sources_pixels_and_others_on_the_stored_image():
    jitter = variants(variants=1, steps=[{"kind": "scale_jitter", "low": 100, "high": 100}])
    assert (decode(jitter.make(RAW, "key", 1).encoded, 3) == picture()).all()
    flip = variants(variants=1, steps=[{"kind": "random_flip", "probability": 1}])
    stored = resize(picture(), *shorter_side_to(100, 150, 64))
    assert (decode(flip.make(RAW, "key", 1).encoded, 3) == stored[:, ::-1]).all()


def test_lighting_uses_the_datasets_own_components():
    steps = [{"kind": "pca_lighting", "std": 3.0}]
    assert variants(variants=1, steps=steps).need_components
    made = decode(variants(variants=1, steps=steps, components=COMPONENTS).make(RAW, "key", 1).encoded, 3)
    stored = resize(picture(), *shorter_side_to(100, 150, 64))
    assert (made != stored).any()


def test_an_image_that_cannot_be_used_is_a_reject_for_every_variant():
    asked = variants(variants=1, steps=STEPS, multi_scale=[32])
    assert [asked.make(b"nothing", "key", number) for number in range(3)] == [
        Reject("not_an_image", "begins with b'nothing'")
    ] * 3


def test_a_step_that_does_not_fit_names_the_image():
    asked = variants(variants=1, steps=[{"kind": "centre_crop", "size": 200}])
    with pytest.raises(InputError, match=r"augment\.steps, image dogs/rex\.jpg: crop of 200 pixels: .* smaller"):
        asked.make(RAW, "dogs/rex.jpg", 1)


def test_a_variant_too_long_for_jpeg_rejects_the_image_in_every_variant():
    strip = encode(picture(8, 2000), "png", 90)
    for augment in ({"multi_scale": [512]}, {"variants": 1, "steps": [{"kind": "scale_jitter", "low": 512}]}):
        made = [variants(**augment).make(strip, "key", number) for number in range(2)]
        assert [reject.reason for reject in made] == ["too_large"] * 2
    assert not isinstance(variants().make(strip, "key", 0), Reject)


def test_variants_of_an_image_that_keeps_its_bytes_start_from_it_and_scales_scale_it():
    image = ImageSettings(size=64, keep_small=True)
    asked = variants(image, variants=1, steps=[{"kind": "random_flip", "probability": 1}], multi_scale=[96])
    jpeg = encode(picture(40, 50), "jpeg", 90)
    sizes = [decode(asked.make(jpeg, "key", number).encoded, 3).shape[:2] for number in range(3)]
    assert sizes == [(40, 50), (96, 120), (40, 50)]
