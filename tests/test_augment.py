import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from normbench.augment import AUGMENTATIONS, affine_matrices, augmentation, crop_flip_matrices, warp

NONE = dict(degrees=0.0, scale=0.0, shift=0.0)


def test_no_change_is_no_change():
    images = torch.rand(3, 2, 6, 9)
    torch.testing.assert_close(warp(images, affine_matrices(3, (6, 9), **NONE)), images)


@pytest.mark.parametrize("size", ((28, 20), (20, 28)))
def test_same_as_affine_grid(size):
    images, matrices = torch.rand(5, 1, *size), affine_matrices(5, size)
    grid = F.affine_grid(matrices, images.shape, align_corners=False)
    torch.testing.assert_close(warp(images, matrices), F.grid_sample(images, grid, align_corners=False))


def test_a_shift_is_in_pixels():
    matrices = affine_matrices(1, (8, 10), **NONE)
    matrices[0, 0, 2], matrices[0, 1, 2] = 2 * 2 / 10, -1 * 2 / 8  # what a shift by (2, -1) pixels is
    image = torch.rand(1, 1, 8, 10)
    expected = torch.zeros_like(image)
    expected[..., 1:, :-2] = image[..., :-1, 2:]
    torch.testing.assert_close(warp(image, matrices), expected)


def test_ranges_are_reached_and_kept():
    drawn = affine_matrices(20_000, (28, 28), degrees=0.0, scale=0.1, shift=2.0)
    shift, zoom = drawn[:, :, 2] * 28 / 2, 1 / drawn[:, [0, 1], [0, 1]]
    assert shift.abs().max() == pytest.approx(2, abs=0.01)
    assert zoom.min() == pytest.approx(0.9, abs=0.01) and zoom.max() == pytest.approx(1.1, abs=0.01)
    assert shift.mean() == pytest.approx(0, abs=0.05) and zoom.mean() == pytest.approx(1, abs=0.005)


def test_a_rotation_keeps_lengths_on_images_that_are_not_square():
    height, width = 20, 40
    drawn = affine_matrices(100, (height, width), degrees=30.0, scale=0.0, shift=0.0)
    in_pixels = torch.diag(torch.tensor([width / 2, height / 2]))
    rotations = in_pixels @ drawn[:, :, :2] @ in_pixels.inverse()
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(2).expand(100, 2, 2))
    angles = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert 0.8 < angles.abs().max() / math.radians(30) <= 1.0001


def test_each_image_has_its_own_change():
    image = torch.rand(1, 1, 28, 28).expand(8, -1, -1, -1)
    changed = warp(image, affine_matrices(8, (28, 28)))
    distances = torch.cdist(changed.flatten(1), changed.flatten(1))
    assert (distances + torch.eye(8) > 0.1).all()


def test_same_generator_same_changes():
    def drawn(seed):
        return affine_matrices(4, (28, 28), torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_crops_and_mirrorings_move_whole_pixels():
    """Each result is one of the 2·5·5 that slicing a padded image gives, and all of them come."""
    image = torch.rand(1, 3, 6, 9)
    changed = warp(image.expand(2000, -1, -1, -1), crop_flip_matrices(2000, (6, 9)))
    padded = torch.from_numpy(np.pad(image, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="symmetric"))
    possible = [padded[..., y : y + 6, x : x + 9] for y in range(5) for x in range(5)]
    possible += [crop.flip(-1) for crop in possible]
    distances = torch.cdist(
        changed.flatten(1), torch.cat(possible).flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert distances.min(dim=1).values.max() < 1e-3
    assert set(distances.argmin(dim=1).tolist()) == set(range(50))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_draws_a_map_an_image(name):
    assert AUGMENTATIONS[name](5, (28, 20), torch.Generator()).shape == (5, 2, 3)


def test_none_changes_no_image():
    images = torch.rand(3, 2, 6, 9)
    torch.testing.assert_close(warp(images, augmentation("none", 2)(3, (6, 9))), images)


def test_auto_depends_on_the_colours():
    assert augmentation("auto", 1) is affine_matrices and augmentation("auto", 3) is crop_flip_matrices
    assert augmentation("affine", 3) is affine_matrices


def test_beyond_the_edges_grey_images_are_black_and_photographs_go_on_as_in_a_mirror():
    matrices = crop_flip_matrices(1, (6, 8))
    matrices[0] = torch.eye(2, 3)
    matrices[0, 0, 2] = 2 * 2 / 8  # two pixels to the left
    image = torch.rand(1, 3, 6, 8)
    moved = warp(image, matrices)
    torch.testing.assert_close(moved[..., :6], image[..., 2:])
    torch.testing.assert_close(moved[..., 6:], image[..., 6:].flip(-1))
    assert (warp(image[:, :1], matrices)[..., 6:] == 0).all()
