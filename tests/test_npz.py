"""A file of arrays: which layouts, pixels and labels are read, and which are refused."""

import numpy as np
import pytest
import torch
from arrays import MINE, RNG, write_npz

from normbench.data import load
from normbench.data.dataset import ARRAYS

RAMP = np.linspace(0, 1, 20 * 63).reshape(20, 9, 7)


def with_images(folder, x):
    return write_npz(folder, x_train=x, x_test=x[:8])


# Channels


def test_keras_layout(mine):
    assert mine.image_shape == (3, 9, 7) and mine.classes == ("0", "1", "2", "3")
    assert torch.equal(mine.x_train, torch.from_numpy(MINE["x_train"]).permute(0, 3, 1, 2))
    assert mine.x_train.is_contiguous()
    assert mine.y_test.tolist() == [0, 1, 2, 3] * 2 and mine.y_test.dtype == torch.int64


@pytest.mark.parametrize(
    "shape, axes",
    (
        ((5, 6, 1), (2, 0, 1)),
        ((1, 5, 6), (0, 1, 2)),
        ((3, 5, 4), (0, 1, 2)),
        ((3, 5, 3), (2, 0, 1)),  # from here on, both could be channels
        ((3, 5, 1), (2, 0, 1)),
        ((1, 5, 3), (2, 0, 1)),
    ),
)
def test_channels_are_the_last_axis_unless_only_the_first_can_be(tmp_path, shape, axes):
    images = RNG.integers(0, 256, (20, *shape), dtype=np.uint8)
    loaded = load("mine", write_npz(tmp_path, x_train=images, x_test=images[:8]))
    assert np.array_equal(loaded.x_train, [image.transpose(axes) for image in images])


def test_images_without_an_axis_of_channels_are_grey(tmp_path):
    images = RNG.integers(0, 256, (20, 5, 3), dtype=np.uint8)
    loaded = load("mine", write_npz(tmp_path, x_train=np.asfortranarray(images), x_test=images[:8]))
    assert np.array_equal(loaded.x_train, images[:, None])


@pytest.mark.parametrize(
    "shape, axes",
    (
        ((13, 8, 8), (0, 1, 2)),
        ((8, 8, 13), (2, 0, 1)),
        ((4, 9, 7), (0, 1, 2)),
        ((9, 7, 4), (2, 0, 1)),
        ((2, 8, 8), (0, 1, 2)),
    ),
)
def test_any_number_of_channels(tmp_path, shape, axes, capsys):
    images = RNG.integers(0, 256, (20, *shape), dtype=np.uint8)
    loaded = load("mine", with_images(tmp_path, images))
    assert np.array_equal(loaded.x_train, [image.transpose(axes) for image in images]) and not loaded.is_grey
    channels = loaded.image_shape[0]
    assert (f"{channels} channels; if the last of them is alpha" in capsys.readouterr().err) == (channels in (2, 4))


# Pixels


@pytest.mark.parametrize(
    "x",
    (
        RAMP,
        RAMP.astype(np.float32),
        255 * RAMP,
        (65535 * RAMP).round().astype(np.uint16),
        (300 * RAMP).round().astype(np.uint16),
        (6000 * RAMP - 2000).astype(np.float32),
        (6000 * RAMP - 2000).round().astype(">i4"),
        (4 * RAMP - 2).astype(np.float16),
        (255 * RAMP).round().astype(np.int64),
    ),
)
def test_pixels_of_any_type_are_scaled_once_and_that_is_said(tmp_path, x, capsys):
    """Nothing wraps around: 300 of 300 is the brightest there is."""
    loaded = load("mine", with_images(tmp_path, x))
    assert np.abs(loaded.x_train[:, 0].numpy() - 255 * RAMP).max() <= 1.5
    said = capsys.readouterr().err
    assert x.dtype.name in said and f"{x.max():g}" in said and said.count("\n") == 1


def test_pictures_of_two_values_are_black_and_white(tmp_path):
    loaded = load("mine", with_images(tmp_path, RAMP > 0.5))
    assert loaded.x_train.unique().tolist() == [0, 255]


def test_what_lies_beyond_the_training_images_is_cut_off(tmp_path):
    x = (1000 * RAMP).astype(np.int32)
    loaded = load("mine", write_npz(tmp_path, x_train=x, x_test=x[:8] + 2000))
    assert loaded.x_test.unique().tolist() == [255]


# Labels


@pytest.mark.parametrize("kind", (np.float32, np.float64, ">i4", ">f8", np.uint64, np.int8))
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    loaded = load("mine", write_npz(tmp_path, y_train=MINE["y_train"].astype(kind)))
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.y_train.dtype == torch.int64


def test_booleans_are_labels_of_two_classes(tmp_path):
    loaded = load("mine", write_npz(tmp_path, y_train=np.arange(20) % 2 == 1, y_test=np.arange(8) % 2))
    assert loaded.classes == ("0", "1") and loaded.y_train[:3].tolist() == [0, 1, 0]


def test_one_hot_labels_are_labels(tmp_path):
    one_hot = np.eye(4)
    loaded = load(
        "mine", write_npz(tmp_path, y_train=one_hot[MINE["y_train"].ravel()], y_test=one_hot[MINE["y_test"].ravel()])
    )
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.classes == ("0", "1", "2", "3")


def test_labels_from_1_are_those_of_as_many_classes(tmp_path):
    loaded = load("mine", write_npz(tmp_path, y_train=MINE["y_train"] + 1, y_test=MINE["y_test"] + 1))
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.classes == ("1", "2", "3", "4")
    assert loaded.y_test.tolist() == [0, 1, 2, 3] * 2


# What is refused


def refusal(folder, name="mine"):
    """The one line with which a file is refused, after the file's path, with which it must begin."""
    with pytest.raises(ValueError) as error:
        load(name, folder)
    line = str(error.value)
    assert line.startswith(str(folder / f"{name}.npz")) and "\n" not in line
    return line.removeprefix(str(folder / f"{name}.npz"))


def test_files_that_are_no_whole_npz(tmp_path):
    file = write_npz(tmp_path) / "mine.npz"
    content = file.read_bytes()
    flipped = bytes(byte ^ (1000 <= i < 1010) * 255 for i, byte in enumerate(content))
    for broken in (content[:-100], b"", b"not an archive", flipped):
        file.write_bytes(broken)
        assert all(key in refusal(tmp_path) for key in ARRAYS)
    with file.open("wb") as npy:
        np.save(npy, MINE["x_train"])
    assert "np.savez" in refusal(tmp_path)
    np.savez_compressed(file, **MINE)
    content = bytearray(file.read_bytes())
    content[41:75] = b"\xff" * 34  # from the end of the first array's name into its compressed stream
    file.write_bytes(content)
    assert all(key in refusal(tmp_path) for key in ARRAYS)


def test_pickles_are_not_opened(tmp_path):
    assert "allow_pickle" in refusal(write_npz(tmp_path, x_train=np.array([{}], dtype=object)))


def test_a_missing_array(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((2, 4, 4), np.uint8))
    assert "y_train" in refusal(tmp_path)


def test_labels_of_a_known_data_set_are_those_of_its_classes(tmp_path):
    write_npz(tmp_path, "cifar10", y_train=np.arange(20))
    line = refusal(tmp_path, "cifar10")
    assert all(fact in line for fact in ("y_train", "label 10", "from 0 to 9"))


@pytest.mark.parametrize(
    "images, words",
    (
        (np.zeros((20, 63), np.uint8), "(20, 63)"),
        (np.zeros((20, 64), np.uint8), "x.reshape(-1, 8, 8)"),
        (np.zeros((20, 9, 9, 9), np.uint8), "torch Datasets"),
        (np.zeros((20, 1, 9, 7, 3), np.uint8), "torch Datasets"),
        (np.uint8(7), "()"),
        (np.zeros((20, 9, 7, 3)), "float64"),
        (np.zeros((20, 9, 7, 3), ">i8"), "int64"),
        (np.zeros((20, 9, 7, 3), complex), "real numbers, got complex128"),
        (np.full((20, 9, 7, 3), "a"), "real numbers"),
        (np.zeros((0, 9, 7, 3), np.uint8), "(0, 9, 7, 3)"),
        (np.zeros((20, 0, 7, 3), np.uint8), "(20, 0, 7, 3)"),
    ),
)
@pytest.mark.parametrize("key", ("x_train", "x_test"))
def test_images_that_are_refused(tmp_path, key, images, words):
    line = refusal(write_npz(tmp_path, **{key: images}))
    assert line.startswith(": x_t") and key in line and words in line


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_pixels_that_are_not_finite_are_refused(tmp_path, bad):
    x = np.zeros((20, 9, 7), np.float32)
    x[3, 2, 1] = bad
    assert "not finite" in refusal(with_images(tmp_path, x))


@pytest.mark.parametrize("label", (0, 3))
def test_one_class_is_refused(tmp_path, label):
    line = refusal(write_npz(tmp_path, y_train=np.full(20, label), y_test=np.full(8, label)))
    assert "one class" in line and f"{label};" in line


@pytest.mark.parametrize(
    "label, words",
    (
        (0.7, "label 0.7"),
        (np.nan, "label nan"),
        (np.inf, "label inf"),
        (1 + 0j, "label (1+0j)"),
        ("1", "label 1"),
        (np.datetime64("2020-01-01"), "label 2020-01-01"),
        (-1, "label -1"),
        (10**9, "label 1000000000"),
        (np.uint64(2**64 - 1), "label 18446744073709551615"),
    ),
)
@pytest.mark.parametrize("key", ("y_train", "y_test"))
def test_labels_that_are_refused(tmp_path, key, label, words):
    line = refusal(write_npz(tmp_path, **{key: np.full(len(MINE[key]), label)}))
    assert key in line and words in line and "whole numbers from 0 to 9999" in line


@pytest.mark.parametrize(
    "changes, facts",
    (
        ({"y_test": np.zeros(7, int)}, ("x_test", "8 images", "y_test", "7 labels")),
        ({"y_train": np.zeros((20, 10), int)}, ("y_train", "(20, 10)", "(N,)", "argmax")),
        ({"y_train": np.zeros(0, int)}, ("y_train", "empty")),
        ({"x_test": np.zeros((8, 9, 9, 3), np.uint8)}, ("x_train", "(3, 9, 7)", "x_test", "(3, 9, 9)")),
        ({"y_test": np.full(8, 4)}, ("y_test", "label 4")),
        ({"y_train": np.arange(20) % 2 * 3}, ("y_test", "label 1")),
    ),
)
def test_arrays_that_do_not_go_together(tmp_path, changes, facts):
    line = refusal(write_npz(tmp_path, **changes))
    assert all(fact in line for fact in facts), line
