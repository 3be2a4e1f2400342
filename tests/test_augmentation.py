import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from normbench.data import (
    AUGMENTATIONS,
    Dataset,
    affine_matrices,
    augmentation,
    crop_flip_matrices,
    mirrored_in_turn,
    warp,
)


def shift_of(x, y, size):
    """The map that moves an image of `size` (H, W) by (x, y) pixels to the left and up: (1, 2, 3)."""
    height, width = size
    return torch.tensor([[[1.0, 0.0, x * 2 / width], [0.0, 1.0, y * 2 / height]]])


def data_of(channels):
    x, y = torch.zeros(2, channels, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    return Dataset("made-up", ("0",), x, y, x, y)


@pytest.mark.parametrize("size", ((28, 20), (20, 28)))
def test_same_as_affine_grid(size):
    images, matrices = torch.rand(5, 1, *size), affine_matrices(5, size)
    grid = F.affine_grid(matrices, images.shape, align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(warp(images, matrices, grey=True), expected)


def test_a_shift_is_in_pixels():
    image = torch.rand(1, 1, 8, 10)
    expected = torch.zeros_like(image)
    expected[..., 1:, :-2] = image[..., :-1, 2:]
    torch.testing.assert_close(warp(image, shift_of(2, -1, (8, 10)), grey=True), expected)


@pytest.mark.parametrize("size", ((28, 28), (20, 40)))
def test_rotation_zoom_and_shift_reach_their_ranges_and_keep_them(size):
    """In pixels each map is a rotation, its axes divided by their zooms: so on images that are not square, too."""
    height, width = size
    drawn = affine_matrices(20_000, size)
    in_pixels = torch.diag(torch.tensor([width / 2, height / 2]))
    linear = in_pixels @ drawn[:, :, :2] @ in_pixels.inverse()
    zoom = 1 / linear.norm(dim=2)
    rotation = linear * zoom[:, :, None]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(2).expand(20_000, 2, 2))
    angle = torch.rad2deg(torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0]))
    shift = (in_pixels @ drawn[:, :, 2:]).squeeze(2)
    for values, middle, reach in ((angle, 0, 10), (zoom, 1, 0.1), (shift, 0, 2)):
        assert values.min() == pytest.approx(middle - reach, abs=0.01 * reach)
        assert values.max() == pytest.approx(middle + reach, abs=0.01 * reach)
        assert values.std() == pytest.approx(reach / math.sqrt(3), rel=0.03), "uniform"


def test_each_image_has_its_own_change():
    image = torch.rand(1, 1, 28, 28).expand(8, -1, -1, -1)
    changed = warp(image, affine_matrices(8, (28, 28)), grey=True)
    distances = torch.cdist(changed.flatten(1), changed.flatten(1))
    assert (distances + torch.eye(8) > 0.1).all()


@pytest.mark.parametrize("name", ("affine", "crop-flip"))
def test_same_generator_same_changes(name):
    def drawn(seed):
        return AUGMENTATIONS[name](40, (28, 28), torch.Generator().manual_seed(seed))

    state = torch.random.get_rng_state()
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(state, torch.random.get_rng_state()), "nothing is drawn from another generator"


def test_crops_and_mirrorings_move_whole_pixels():
    """Each result is one of the 2·5·5 that slicing a padded image gives, and all of them come."""
    image = torch.rand(1, 3, 6, 9)
    changed = warp(image.expand(2000, -1, -1, -1), crop_flip_matrices(2000, (6, 9)), grey=False)
    padded = torch.from_numpy(np.pad(image, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="symmetric"))
    possible = [padded[..., y : y + 6, x : x + 9] for y in range(5) for x in range(5)]
    possible += [crop.flip(-1) for crop in possible]
    distances = torch.cdist(
        changed.flatten(1), torch.cat(possible).flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert distances.min(dim=1).values.max() < 1e-3
    assert set(distances.argmin(dim=1).tolist()) == set(range(50))


def test_in_turn_each_image_is_seen_both_ways_in_two_epochs():
    images, size = torch.rand(50, 3, 6, 9), (6, 9)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for epoch in range(3):
        order = torch.randperm(50, generator=generator)
        drawn = crop_flip_matrices(50, size, generator)
        drawn[:, :, 2] = 0  # no moves, so that what is left is the mirroring
        maps = mirrored_in_turn(drawn, order, epoch, seed=7)
        changed = warp(images[order], maps, grey=False)[order.argsort()]
        as_it_is = np.isclose(changed, images, atol=1e-5).all(axis=(1, 2, 3))
        mirrored = np.isclose(changed, np.flip(images.numpy(), 3), atol=1e-5).all(axis=(1, 2, 3))
        assert (as_it_is ^ mirrored).all()
        seen.append(mirrored)
    assert (seen[0] != seen[1]).all() and (seen[0] == seen[2]).all()
    assert 10 < seen[0].sum() < 40, "a lot decides how each begins"


def test_in_turn_only_the_mirroring_changes():
    drawn = crop_flip_matrices(40, (6, 9), torch.Generator().manual_seed(1))
    maps = mirrored_in_turn(drawn, torch.arange(40), 0, seed=1)
    assert not torch.equal(maps[:, 0, 0], drawn[:, 0, 0]) and not torch.equal(
        maps, mirrored_in_turn(drawn, torch.arange(40), 0, seed=2)
    )
    maps[:, 0, 0] = drawn[:, 0, 0]
    assert torch.equal(maps, drawn)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_draws_a_map_for_each_image(name):
    assert AUGMENTATIONS[name](5, (28, 20), torch.Generator()).shape == (5, 2, 3)


def test_none_changes_no_image():
    images, draw = torch.rand(3, 3, 6, 9), augmentation("none", data_of(3))
    for grey in (True, False):
        torch.testing.assert_close(warp(images, draw(3, (6, 9)), grey=grey), images)


def test_auto_depends_on_the_colours():
    grey, colour = data_of(1), data_of(3)
    assert augmentation("auto", grey) is affine_matrices and augmentation("auto", colour) is crop_flip_matrices
    assert augmentation("affine", colour) is affine_matrices and augmentation("crop-flip", grey) is crop_flip_matrices


def test_beyond_the_edges_grey_images_are_black_and_photographs_go_on_as_in_a_mirror():
    image, to_the_left = torch.rand(1, 3, 6, 8), shift_of(2, 0, (6, 8))
    moved = warp(image, to_the_left, grey=False)
    torch.testing.assert_close(moved[..., :6], image[..., 2:])
    torch.testing.assert_close(moved[..., 6:], image[..., 6:].flip(-1))
    assert (warp(image[:, :1], to_the_left, grey=True)[..., 6:] == 0).all()


def test_images_of_other_sizes_in_turn():
    """What is remembered between calls belongs to one size."""
    for size in ((6, 9), (9, 6), (6, 9), (5, 5)):
        images = torch.rand(2, 1, *size)
        torch.testing.assert_close(warp(images, AUGMENTATIONS["none"](2, size), grey=True), images)
