"""Small data sets as files."""

import struct

import numpy as np

RNG = np.random.default_rng(0)
MINE = {
    "x_train": RNG.integers(0, 256, (20, 9, 7, 3), dtype=np.uint8),
    "y_train": np.arange(20, dtype=np.uint8)[:, None] % 4,
    "x_test": RNG.integers(0, 256, (8, 9, 7, 3), dtype=np.uint8),
    "y_test": np.arange(8)[:, None] % 4,
}


def write_npz(folder, name="mine", **changes):
    np.savez(folder / f"{name}.npz", **(MINE | changes))
    return folder


def write_idx_mnist(folder, name="MNIST", n_train=60, n_test=20):
    """The four files of MNIST or its like with made-up images, where torchvision looks for them."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = np.full((n, 28, 28), 7, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.tobytes())
    return raw
