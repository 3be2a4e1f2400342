"""Random changes of training images, drawn anew for each image.

The random numbers are drawn apart from their use: an epoch's changes are one small tensor, drawn on the CPU, so that
they are the same on every device and the training loop draws none.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from normbench.data.dataset import Dataset

DEGREES = 10.0  # a rotation is up to so many, either way
ZOOM = 0.1  # a zoom factor lies in 1 ± this
SHIFT = 2.0  # a handwriting is shifted by up to so many pixels along each axis, either way
CROP = 2  # a photograph by up to so many whole pixels
IN_TURN = "crop-turn"


def affine_matrices(n: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Draw `n` random affine maps for images of `size` (H, W) pixels: float (n, 2, 3).

    Each is a rotation by up to ±`DEGREES`, a zoom by a factor in 1 ± `ZOOM` along each axis, and a shift by up to
    ±`SHIFT` pixels, uniformly drawn: ways in which handwritings differ. As `torch.nn.functional.affine_grid` expects,
    the maps lead from output to input coordinates, both in [-1, 1].
    """
    angle, zoom_x, zoom_y, shift_x, shift_y = torch.rand(5, n, generator=generator) * 2 - 1
    angle = angle * math.radians(DEGREES)
    zoom_x, zoom_y = 1 + ZOOM * zoom_x, 1 + ZOOM * zoom_y
    height, width = size
    # A rotation is one in pixels; in coordinates that span [-1, 1] on both axes it carries their ratio.
    sin, cos, ratio = angle.sin(), angle.cos(), height / width
    row_x = torch.stack([cos / zoom_x, -sin * ratio / zoom_x, shift_x * SHIFT * 2 / width], dim=1)
    row_y = torch.stack([sin / ratio / zoom_y, cos / zoom_y, shift_y * SHIFT * 2 / height], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def crop_flip_matrices(n: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Draw `n` random crops and mirrorings for images of `size` (H, W) pixels: float (n, 2, 3).

    Each moves the image by a whole number of pixels, up to ±`CROP` along each axis, so that photographs stay sharp,
    and mirrors it left to right with probability 1/2. As `torch.nn.functional.affine_grid` expects, the maps lead from
    output to input coordinates, both in [-1, 1].
    """
    height, width = size
    moves = torch.randint(-CROP, CROP + 1, (2, n), generator=generator).float()
    mirror = torch.randint(2, (n,), generator=generator) * 2.0 - 1
    zero, one = torch.zeros(n), torch.ones(n)
    row_x = torch.stack([mirror, zero, moves[0] * 2 / width], dim=1)
    row_y = torch.stack([zero, one, moves[1] * 2 / height], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def mirrored_in_turn(matrices: Tensor, images: Tensor, epoch: int, seed: int) -> Tensor:
    """Mirror each image in every other epoch instead of at random: float (n, 2, 3), `matrices` with another mirroring.

    By lot many images are seen the same way in two epochs that follow; in turn none is (Jordan 2024, arXiv:2404.00498,
    "alternating flip"). Only in which epoch an image begins is drawn, from the seed.

    `matrices` (n, 2, 3) as `crop_flip_matrices` draws them; `images` (n,), which training image each is for, each once;
    epochs count from 0.
    """
    begins = torch.randint(2, (len(images),), generator=torch.Generator().manual_seed(seed))
    changed = matrices.clone()
    changed[:, 0, 0] = ((begins[images.cpu()] + epoch) % 2 * 2.0 - 1).to(matrices)
    return changed


def no_matrices(n: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Return `n` maps that leave images as they are: float (n, 2, 3)."""
    return torch.eye(2, 3).repeat(n, 1, 1)


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "affine": affine_matrices,
    "crop-flip": crop_flip_matrices,
    IN_TURN: crop_flip_matrices,  # which `mirrored_in_turn` changes
    "none": no_matrices,
}


def augmentation(name: str, data: Dataset) -> Callable[..., Tensor]:
    """Return the function that draws the maps of the augmentation `name` for the images of `data`.

    "auto" is "affine" for grey images, "crop-flip" for colour.
    """
    if name == "auto":
        return affine_matrices if data.is_grey else crop_flip_matrices
    return AUGMENTATIONS[name]


def warp(images: Tensor, matrices: Tensor, *, grey: bool) -> Tensor:
    """Apply an affine map to each image, bilinearly.

    Beyond its edges a grey image is black, as around a handwritten digit. A photograph goes on as in a mirror: no test
    image has black edges, and with them group norm lost 2 points of accuracy in a trial on CIFAR-10 (one seed, 8
    epochs).

    images (N, C, H, W) float; matrices (N, 2, 3) from output to input coordinates in [-1, 1], as
    `torch.nn.functional.affine_grid` takes them; `grey` is `Dataset.is_grey`. Returns float (N, C, H, W).
    """
    n, _, height, width = images.shape
    # affine_grid multiplies N small matrices; one product for the whole batch is ten times as fast.
    pixels = _pixel_coordinates(height, width, images.device)
    grid = (matrices.reshape(2 * n, 3) @ pixels).view(n, 2, height, width).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="zeros" if grey else "reflection", align_corners=False)


@lru_cache(maxsize=8)  # a run needs one; its recorded step, if on a GPU, reads it as long as it runs
def _pixel_coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """Return homogeneous coordinates (x, y, 1) of the pixel centres, in [-1, 1]: float (3, H * W)."""
    x = (2 * torch.arange(width, device=device) + 1) / width - 1
    y = (2 * torch.arange(height, device=device) + 1) / height - 1
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y, torch.ones_like(grid_x)]).view(3, -1)
