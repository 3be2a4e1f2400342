import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from normbench.data import ARRAYS, DATASETS, load, title

RNG = np.random.default_rng(0)
MINE = dict(
    x_train=RNG.integers(0, 256, (20, 9, 7, 3), dtype=np.uint8),
    y_train=np.arange(20, dtype=np.uint8)[:, None] % 4,
    x_test=RNG.integers(0, 256, (8, 9, 7, 3), dtype=np.uint8),
    y_test=np.arange(8)[:, None] % 4,
)


def write_npz(folder, name="mine", **changes):
    np.savez(folder / f"{name}.npz", **(MINE | changes))
    return folder


@pytest.fixture
def mine(tmp_path):
    return load("mine", write_npz(tmp_path))


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


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried a mirror, got:\n<no network>\n")

    monkeypatch.setattr(DATASETS["mnist"].maker, "download", refuse)


# What is loaded


def test_digits(digits):
    assert digits.name == "digits" and digits.image_shape == (1, 28, 28)
    assert len(digits.y_train) + len(digits.y_test) == 1797
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == 255
    assert digits.x_train[:, :, :3].sum() == 0, "the margin is empty, as MNIST's is"
    assert digits.y_test.bincount().min() >= 28, "every digit is tested on"


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


@pytest.mark.parametrize("kind", (np.float32, np.float64, ">i4", ">f8", np.uint64, np.int8))
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    loaded = load("mine", write_npz(tmp_path, y_train=MINE["y_train"].astype(kind)))
    assert loaded.y_train.tolist() == [0, 1, 2, 3] * 5 and loaded.y_train.dtype == torch.int64


def test_booleans_are_labels_of_two_classes(tmp_path):
    loaded = load("mine", write_npz(tmp_path, y_train=np.arange(20) % 2 == 1, y_test=np.arange(8) % 2))
    assert loaded.classes == ("0", "1") and loaded.y_train[:3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "name, folder, classes",
    (
        ("mnist", "MNIST", {0: "0", 9: "9"}),
        ("fashion_mnist", "FashionMNIST", {0: "T-shirt/top", 1: "trouser", 9: "ankle boot"}),
        ("kmnist", "KMNIST", {0: "o", 1: "ki", 9: "wo"}),
    ),
)
def test_data_sets_in_the_format_of_mnist(tmp_path, name, folder, classes):
    write_idx_mnist(tmp_path, folder)
    loaded = load(name, tmp_path)
    assert (loaded.name, loaded.x_train.shape, len(loaded.classes)) == (name, (60, 1, 28, 28), 10)
    assert loaded.x_test.unique().tolist() == [7] and loaded.y_train[:12].tolist() == [*range(10), 0, 1]
    assert {i: loaded.classes[i] for i in classes} == classes


def test_class_names_are_those_of_torchvision():
    for name in ("fashion_mnist", "kmnist"):
        assert [c.lower() for c in DATASETS[name].classes] == [c.lower() for c in DATASETS[name].maker.classes]


def test_class_names_of_an_npz_come_by_its_name(tmp_path):
    loaded = load("cifar10", write_npz(tmp_path, "cifar10"))
    assert loaded.image_shape == (3, 9, 7) and len(loaded.classes) == 10
    assert (loaded.classes[0], loaded.classes[9]) == ("airplane", "truck")


def test_npz_goes_before_torchvision(tmp_path):
    write_idx_mnist(tmp_path)
    assert load("mnist", write_npz(tmp_path, "mnist")).image_shape == (3, 9, 7)


def test_data_dir_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(write_npz(tmp_path)))
    assert len(load("mine").y_train) == 20


def test_auto_is_mnist_where_it_is_there(tmp_path):
    write_idx_mnist(tmp_path)
    assert load("auto", tmp_path).name == "mnist"


def test_auto_falls_back_to_digits_and_says_so(tmp_path, no_network, capsys):
    assert load("auto", tmp_path).name == "digits"
    assert "1,797 digits" in capsys.readouterr().err


def test_titles():
    assert [title(name) for name in ("mnist", "cifar10", "digits")] == ["MNIST", "CIFAR-10", "scikit-learn's digits"]
    assert title("mnist (validation)") == "MNIST, held-out training images"
    assert (title("mine"), title("mine (validation)")) == ("mine", "mine, held-out training images")


# What is refused


@pytest.mark.parametrize("name", ("mnist", "fashion_mnist", "kmnist"))
def test_a_data_set_asked_for_by_name_is_never_replaced(tmp_path, no_network, name):
    with pytest.raises(FileNotFoundError, match=rf"^{name} .*could not be downloaded.*no network.*DATA_DIR") as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ("mnist", "cifar10"))
def test_a_folder_that_cannot_be_written(tmp_path, name, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="could not be downloaded"):
        load(name, tmp_path / "file")
    assert capsys.readouterr().err == "", "no host is blamed"


def test_unknown_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'imagenet'.*auto, .*cifar10.*digits.*imagenet\.npz"):
        load("imagenet", tmp_path)


@pytest.mark.parametrize("part", ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
def test_a_truncated_file_is_not_replaced_by_digits(tmp_path, part):
    file = write_idx_mnist(tmp_path) / part
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"MNIST/ is broken.*delete"):
        load("auto", tmp_path)


def refusal(folder, name="mine"):
    """The one line with which a file is refused; it must begin with the file's path."""
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
        assert "is broken" in refusal(tmp_path)
    with file.open("wb") as npy:
        np.save(npy, MINE["x_train"])
    assert "np.savez" in refusal(tmp_path)
    np.savez_compressed(file, **MINE)
    content = bytearray(file.read_bytes())
    content[41:75] = b"\xff" * 34  # from the end of the first array's name into its compressed stream
    file.write_bytes(content)
    assert "is broken" in refusal(tmp_path)


def test_pickles_are_not_opened(tmp_path):
    assert "allow_pickle" in refusal(write_npz(tmp_path, x_train=np.array([{}], dtype=object)))


def test_a_missing_array(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((2, 4, 4), np.uint8))
    assert "y_train" in refusal(tmp_path)


def test_broken_images_in_a_known_data_set_name_the_file(tmp_path):
    write_npz(tmp_path, "cifar10", y_train=np.arange(20))
    assert "y_train has the label 10, allowed are whole numbers from 0 to 9" in refusal(tmp_path, "cifar10")


@pytest.mark.parametrize(
    "images, words",
    (
        (np.zeros((20, 63), np.uint8), "(20, 63)"),
        (np.zeros((20, 9, 7, 4), np.uint8), "x[..., :3]"),
        (np.zeros((20, 9, 7, 2), np.uint8), "x[..., :1]"),
        (np.zeros((20, 4, 9, 7), np.uint8), "(20, 4, 9, 7)"),
        (np.zeros((20, 1, 9, 7, 3), np.uint8), "(20, 1, 9, 7, 3)"),
        (np.uint8(7), "()"),
        (np.zeros((20, 9, 7)), "got float64; make them (255 * x).round().astype('uint8')"),
        (np.zeros((20, 9, 7), ">i8"), "x.astype('uint8')"),
        (np.zeros((0, 9, 7, 3), np.uint8), "is empty"),
        (np.zeros((20, 0, 7, 3), np.uint8), "is empty"),
    ),
)
@pytest.mark.parametrize("key", ("x_train", "x_test"))
def test_images_that_are_refused(tmp_path, key, images, words):
    line = refusal(write_npz(tmp_path, **{key: images}))
    assert line.startswith(f": {key}") and words in line


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
    assert f"{key} has the {words}" in line and "whole numbers from 0 to" in line


@pytest.mark.parametrize(
    "changes, message",
    (
        (dict(y_test=np.zeros(7, int)), "x_test has 8 images and y_test 7 labels"),
        (dict(y_train=np.zeros((20, 10), int)), "y_train must have the shape (N,) or (N, 1), got (20, 10)"),
        (dict(y_train=np.zeros(0, int)), "y_train is empty"),
        (
            dict(x_test=np.zeros((8, 9, 9, 3), np.uint8)),
            "x_train has images (C, H, W) of (3, 9, 7), x_test of (3, 9, 9)",
        ),
        (dict(y_test=np.full(8, 4)), "y_test has the label 4, which no training image has"),
        (dict(y_train=np.arange(20) % 2 * 3), "y_test has the label 1, which no training image has"),
    ),
)
def test_arrays_that_do_not_go_together(tmp_path, changes, message):
    assert message in refusal(write_npz(tmp_path, **changes))


# What a data set can do


def test_standardized_pixels_have_mean_0_and_deviation_1(mine):
    x = mine.standardize(mine.x_train)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_the_test_set_is_scaled_as_the_training_set(mine):
    pixels = MINE["x_train"].astype(float)
    expected = (MINE["x_test"] - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2), ddof=1)
    assert mine.standardize(mine.x_test).permute(0, 2, 3, 1).numpy() == pytest.approx(expected, abs=1e-5)
    part = mine.first(5)
    assert not torch.equal(part.standardize(part.x_test), mine.standardize(mine.x_test)), "of its own images"


def test_a_constant_channel_stays_finite(mine):
    dark = replace(mine, x_train=mine.x_train * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None])
    assert dark.standardize(dark.x_train)[:, 1].unique().tolist() == [0]


def test_fingerprint_tells_every_difference_and_only_differences(mine):
    elsewhere = {key: getattr(mine, key).clone() for key in ARRAYS}
    elsewhere["x_train"] = elsewhere["x_train"].contiguous(memory_format=torch.channels_last)
    assert replace(mine, name="other", **elsewhere).fingerprint == mine.fingerprint
    prints = {mine.fingerprint, mine.first(19).fingerprint}
    for key in ARRAYS:
        changed = getattr(mine, key).clone()
        changed.view(-1)[-1] ^= 1
        prints.add(replace(mine, **{key: changed}).fingerprint)
    same_bytes = {key: getattr(mine, key).reshape(-1, 3, 7, 9) for key in ("x_train", "x_test")}
    prints.add(replace(mine, **same_bytes).fingerprint)
    assert len(prints) == 2 + len(ARRAYS) + 1


def test_test_set_is_the_checksum_that_results_carry(digits, mine):
    assert digits.test_set == "286bdd93"
    other = replace(mine, y_test=mine.y_test.flip(0))
    assert other.test_set != mine.test_set == mine.first(5).test_set


def test_hold_out_keeps_the_test_set_away(digits):
    held = digits.hold_out(500)
    assert len(held.y_train) == 1000 and held.name == "digits (validation)"
    assert torch.equal(held.x_test, digits.x_train[-500:]) and torch.equal(held.y_test, digits.y_train[-500:])
    for n in (0, 1500):
        with pytest.raises(ValueError, match=f"cannot hold out {n} of 1500"):
            digits.hold_out(n)


def test_first(digits):
    assert digits.first(0) is digits
    assert torch.equal(digits.first(7).x_train, digits.x_train[:7]) and len(digits.first(7).y_test) == 297
    with pytest.raises(ValueError, match="1501 is above the 1500"):
        digits.first(1501)


# The data sets themselves


@pytest.mark.mnist
def test_the_canonical_mnist(mnist):
    assert (len(mnist.y_train), len(mnist.y_test), mnist.image_shape) == (60_000, 10_000, (1, 28, 28))
    mean, std = mnist.mean_std
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.1307, 0.3081)
    assert mnist.y_train[:6].tolist() == [5, 0, 4, 1, 9, 2] and mnist.test_set == "091bdade"


@pytest.mark.cifar10
def test_the_canonical_cifar10():
    cifar10 = load("cifar10")
    assert (len(cifar10.y_train), len(cifar10.y_test), cifar10.image_shape) == (50_000, 10_000, (3, 32, 32))
    mean, std = cifar10.mean_std
    assert [round(m, 4) for m in mean.flatten().tolist()] == [0.4914, 0.4822, 0.4465]
    assert [round(s, 4) for s in std.flatten().tolist()] == [0.2470, 0.2435, 0.2616]
    assert cifar10.y_train.bincount().tolist() == [5000] * 10 and cifar10.y_test.bincount().tolist() == [1000] * 10
    assert cifar10.test_set == "76fb646b"
