"""Random patches: of any folder, the same again from the same seed, and within limits."""

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr.data import ImagePatches, safe_id
from lit_certattr.data.image_numbers import number
from lit_certattr.data.patches import _Pictures, random_patch
from lit_certattr.errors import InputError


def save(path, size=(40, 30), seed=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    for index in range(12):
        save(tmp_path / f"{'deep/er/' * (index % 3)}{index}.png", (24 + 9 * index, 40), index)
    return tmp_path


def made(root, **settings) -> ImagePatches:
    data = ImagePatches(str(root), **{"size": 16, "short_side": (20, 32), "patches_per_image": 4} | settings)
    data.setup("fit")
    return data


def drawn(data, seed=0) -> tuple[torch.Tensor, list[str]]:
    torch.manual_seed(seed)
    batches = list(data.train_dataloader())
    return torch.cat([batch.image for batch in batches]), [name for batch in batches for name in batch.id]


def test_images_of_any_size_and_place_make_patches_without_labels(folder):
    data = made(folder)
    assert (len(data.train_set), len(data.val_set), data.test_set) == (40, 2, None)
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (16, 3, 16, 16)
    assert set(batch.target.tolist()) == {-1}
    assert {name.rsplit("-", 1)[0] for name in data.train_set.ids}.isdisjoint(data.val_set.ids)


def test_held_out_images_stay_when_others_are_added(folder):
    before = set(made(folder).val_set.ids)
    for index in range(8):
        save(folder / "new" / f"{index}.png", seed=50 + index)
    after = made(folder)
    old = {safe_id(path.relative_to(folder).as_posix()) for path in folder.rglob("*.png")}
    assert len(after.val_set) == 2
    assert set(after.val_set.ids) <= old
    assert before & set(after.val_set.ids) or all("new" in name for name in after.val_set.ids)


def test_validation_images_are_central_squares_of_one_size(folder):
    data = made(folder, val_size=25)
    images = [sample.image for sample in map(data.val_set.__getitem__, range(2))]
    assert {tuple(image.shape) for image in images} == {(3, 25, 25)}
    assert all(torch.equal(data.val_set[index].image, images[index]) for index in range(2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_equal_seeds_give_equal_patches(folder, num_workers):
    data = made(folder, num_workers=num_workers)
    (first, names), (again, same), (other, _) = drawn(data), drawn(data), drawn(data, seed=1)
    assert names == same
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_patches_do_not_depend_on_what_is_in_memory(folder):
    without, _ = drawn(made(folder, cache_mb=0))
    assert torch.equal(drawn(made(folder))[0], without)


def test_memory_for_decoded_images_is_bounded(folder):
    paths = sorted(folder.rglob("*.png"))
    pictures = _Pictures(paths, 3, 32, None, 10**6, max_bytes=20_000)
    sizes = [pictures[index].size for index in range(len(paths))]
    assert max(min(size) for size in sizes) == 32  # kept no larger than needed
    kept = sum(4 * picture.width * picture.height for picture in pictures._kept.values())
    assert 0 < kept == pictures._bytes <= 20_000
    assert list(pictures._kept) == sorted(pictures._kept)[-len(pictures._kept) :]
    assert max(pictures._kept) == len(paths) - 1  # the most recent ones
    last = pictures._kept[len(paths) - 1]
    assert pictures[len(paths) - 1] is last


def test_a_picture_of_the_size_of_a_patch_is_the_patch_or_its_mirror_image():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    whole = torch.from_numpy(pixels).permute(2, 0, 1)
    seen = [random_patch(Image.fromarray(pixels), 16, (4, 400)) for _ in range(20)]
    mirrored = [torch.equal(patch, whole.flip(2)) for patch in seen]
    assert all(flipped or torch.equal(patch, whole) for flipped, patch in zip(mirrored, seen, strict=True))
    assert 0 < sum(mirrored) < 20


def test_scales_stay_in_their_range_and_places_cover_the_picture():
    """A ramp shows where a patch comes from: its slope is the scale, its mean the place."""
    width, height, size = 400, 100, 10
    ramp = np.broadcast_to((np.arange(width) // 2).astype(np.uint8), (height, width))
    patches = torch.stack([random_patch(Image.fromarray(ramp), size, (25, 50)) for _ in range(300)]).double()
    slope = (patches[..., -1] - patches[..., 0]).mean((1, 2)).abs() / (size - 1) * 2  # pixels of the ramp per pixel
    rounding = 4 / (size - 1)  # of both ends to whole numbers, times 2
    assert slope.min() > 2 - rounding
    assert slope.max() < 4 + rounding
    assert slope.std() > 0.3
    centre = patches.mean((1, 2, 3)) * 2
    assert centre.min() < 60
    assert centre.max() > 340


def test_small_pictures_are_enlarged_to_a_patch_and_no_further():
    ramp = np.broadcast_to((np.arange(8) * 30).astype(np.uint8), (8, 8))
    patch = random_patch(Image.fromarray(ramp), 16, (32, 64)).float().sort(-1).values
    assert patch.shape == (1, 16, 16)
    assert patch.min() < 15  # the whole picture
    assert patch.max() > 195


def test_gray_and_colour_are_converted(folder):
    save(folder / "gray.png", mode="L")
    assert made(folder, channels=1).train_set[0].image.shape == (1, 16, 16)
    assert made(folder).train_set[0].image.shape == (3, 16, 16)


def test_images_with_more_than_eight_bits_are_scaled_by_their_white_level(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((20, 20), 1000, np.uint16)).save(tmp_path / f"{name}.png")
    data = made(tmp_path, channels=1, white_level=2000)
    assert data.train_set[0].image.unique().tolist() == [pytest.approx(128 / 255)]
    full = made(tmp_path, channels=1)
    assert full.train_set[0].image.unique().tolist() == [pytest.approx(4 / 255)], number(1000 / 65535)


def test_a_damaged_image_is_named_when_it_is_used(folder):
    (folder / "0.png").write_bytes(b"no image")
    data = made(folder)
    (samples,) = [one for one in (data.train_set, data.val_set) if any(name.startswith("0.png") for name in one.ids)]
    place = next(place for place, name in enumerate(samples.ids) if name.startswith("0.png"))
    with pytest.raises(InputError, match=r"image .*/0\.png cannot be read"):
        samples[place]


def test_a_picture_beyond_the_limit_is_refused(folder):
    with pytest.raises(InputError, match="set max_pixels to at least"):
        drawn(made(folder, max_pixels=900))


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 2.5}, "size must be a whole number"),
        ({"val_size": 0}, "val_size must be at least 1"),
        ({"short_side": (64, 32)}, "the smaller first"),
        ({"short_side": (32,)}, "must be two numbers"),
        ({"short_side": 32}, "short_side must be a list"),
        ({"short_side": (0, 32)}, "short_side must be at least 1"),
        ({"size": 10**6}, "lower it"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"patches_per_image": 0}, "patches_per_image must be at least 1"),
        ({"cache_mb": -1}, "cache_mb must be a number of megabytes"),
        ({"cache_mb": float("nan")}, "cache_mb must be a number of megabytes"),
        ({"white_level": 0}, "white_level must be a number above 0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 1.5}, "batch_size must be a whole number, got 1.5"),
        ({"num_workers": "2"}, "num_workers must be a whole number, got '2'"),
    ],
)
def test_settings_out_of_range(folder, settings, pattern):
    with pytest.raises(InputError, match=pattern):
        made(folder, **settings)


def test_a_folder_needs_two_images(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        made(tmp_path)
    save(tmp_path / "one.png")
    with pytest.raises(InputError, match="holds one image; training and validation need at least two"):
        made(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        made(tmp_path / "nowhere")
