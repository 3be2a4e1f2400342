import os
import shutil

import numpy as np
import pytest
from PIL import Image

from normbench.data import folder, layout, load


def picture(path, colour, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def split(tmp_path):
    """Red cats and blue dogs, in train/ and test/."""
    for part, n in (("train", 3), ("test", 2)):
        for name, colour in (("cat", (250, 0, 0)), ("dog", (0, 0, 250))):
            for i in range(n):
                picture(tmp_path / "pets" / part / name / f"{i}.png", colour)
    return tmp_path / "pets"


def test_train_and_test(split):
    data = load(f"{split}/", size=8)
    assert data.name == "pets" and data.classes == ("cat", "dog")
    assert data.x_train.shape == (6, 3, 8, 8) and data.x_test.shape == (4, 3, 8, 8)
    assert data.y_train.tolist() == [0, 0, 0, 1, 1, 1] and data.y_test.tolist() == [0, 0, 1, 1]
    assert data.x_train[0, :, 0, 0].tolist() == [250, 0, 0] and data.x_test[3, :, 0, 0].tolist() == [0, 0, 250]


def test_the_middle_is_taken(tmp_path):
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 200
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(array).save(tmp_path / name / f"{i}.png")
    assert (load(f"{tmp_path}/", size=10).x_train == 200).all()


def test_grey_images_have_one_channel(tmp_path):
    for i in range(5):
        picture(tmp_path / "a" / f"{i}.png", (90, 90, 90))
        picture(tmp_path / "b" / f"{i}.png", (9, 9, 9))
    assert load(f"{tmp_path}/").image_shape == (1, 32, 32)


def test_one_image_in_colour_keeps_the_channels_of_all(tmp_path):
    for i in range(5):
        picture(tmp_path / "a" / f"{i}.png", (90, 90, 91 if i == 3 else 90))
        picture(tmp_path / "b" / f"{i}.png", (9, 9, 9))
    assert load(f"{tmp_path}/").image_shape == (3, 32, 32)


def test_a_folder_has_its_own_classes_even_with_the_name_of_a_known_data_set(tmp_path):
    for i in range(12):
        for n in range(5):
            picture(tmp_path / "mnist" / f"class {i:02}" / f"{n}.png", (i, 0, 0))
    data = load(f"{tmp_path}/mnist/")
    assert len(data.classes) == 12 and data.classes[11] == "class 11" and data.y_test.tolist() == [*range(12)]


def test_a_fifth_of_each_class_is_for_testing(tmp_path, capsys):
    for name, n in (("a", 10), ("b", 20)):
        for i in range(n):
            picture(tmp_path / name / f"{i}.png", (i, 0, 100 if name == "a" else 200))
    data = load(f"{tmp_path}/")
    assert data.y_train.bincount().tolist() == [8, 16] and data.y_test.bincount().tolist() == [2, 4]
    assert "fifth" in capsys.readouterr().err
    reds = {label: set() for label in (0, 1)}
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        for image, label in zip(x, y):
            reds[int(label)].add(int(image[0, 0, 0]))
    assert reds == {0: set(range(10)), 1: set(range(20))}  # each image once
    assert load(f"{tmp_path}/").fingerprint == data.fingerprint


def test_classes_go_by_their_names_where_test_lacks_one(split, capsys):
    for file in (split / "test" / "cat").iterdir():
        file.unlink()
    (split / "test" / "cat").rmdir()
    assert load(f"{split}/").y_test.tolist() == [1, 1]
    said = capsys.readouterr().err
    assert "test/ has no images of cat/" in said and "dog" not in said


def foreign_class(split):
    picture(split / "test" / "bird" / "1.png", (0, 0, 0))


def broken_image(split):
    (split / "train" / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")


@pytest.mark.parametrize(
    "damage, message",
    (
        (foreign_class, "test/.*'bird'.*train/"),
        (broken_image, r"cat/1\.png.*(replace|delete)"),
    ),
)
def test_what_is_wrong_with_a_folder(split, damage, message):
    damage(split)
    with pytest.raises(ValueError, match=message) as error:
        load(f"{split}/")
    assert str(split) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_folders(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}/.*folder for each class.*train/"):
        load(f"{tmp_path}/")


def test_no_such_folder():
    with pytest.raises(FileNotFoundError, match="no/such/"):
        load("no/such/")


def test_more_images_than_fit_into_memory(split, monkeypatch):
    monkeypatch.setattr(folder, "_physical_memory", lambda: 2**30)
    with pytest.raises(ValueError, match=r"10 images of 4096x4096 pixels.*1\.5 GiB.*1\.0.*smaller size"):
        load(f"{split}/", size=4096)


def test_a_machine_that_does_not_say_how_much_memory_it_has(split, monkeypatch):
    """Such as Windows, whose Python has no `os.sysconf`."""
    monkeypatch.delattr(folder.os, "sysconf", raising=False)
    assert load(f"{split}/", size=8).image_shape == (3, 8, 8)


def test_a_size_is_for_folders_and_at_least_a_pixel(split):
    with pytest.raises(ValueError, match=r"folders.*64.*digits"):
        load("digits", size=64)
    for size in (0, -1):
        with pytest.raises(ValueError, match=rf"size.*at least 1.*{size}"):
            load(f"{split}/", size=size)


# Folders as they are


def classes_of(folder, **parts):
    """A folder of ants and bees, each of a colour of its own, in several parts."""
    for part, n in (parts or {"": 10}).items():
        for name, red in (("ants", 200), ("bees", 20)):
            for i in range(n):
                picture(folder / part / name / f"{i}.png", (red, i, len(part)))
    return folder


@pytest.mark.parametrize(
    "parts, tests",
    (
        ({"train": 6, "val": 4}, 4),
        ({"Train": 6, "Test": 4}, 4),
        ({"training": 6, "validation": 4}, 4),
        ({"TRAIN": 6, "VALID": 4}, 4),
        ({"train": 6, "val": 3, "test": 4}, 4),
        ({"train": 10}, 2),
    ),
)
def test_splits_are_never_classes(tmp_path, parts, tests, capsys):
    data = load(f"{classes_of(tmp_path, **parts)}/")
    assert data.classes == ("ants", "bees") and data.y_test.bincount().tolist() == [tests, tests]
    said = capsys.readouterr().err
    if "val" in parts or "VALID" in parts or "validation" in parts:
        assert next(name for name in parts if name.lower().startswith("val")) + "/" in said


@pytest.mark.parametrize("parts", ({"val": 4, "test": 4}, {"test": 4}, {"train": 4, "Training": 4, "test": 4}))
def test_splits_that_do_not_make_a_pair_are_told(tmp_path, parts):
    with pytest.raises(ValueError, match="train") as caught:
        load(f"{classes_of(tmp_path, **parts)}/")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_train_is_a_class_beside_a_bus(tmp_path):
    for name, red in (("bus", 0), ("train", 200)):
        for i in range(5):
            picture(tmp_path / name / f"{i}.png", (red, i, 1))
    assert load(f"{tmp_path}/").classes == ("bus", "train")


def test_splits_without_folders_of_classes_are_told(tmp_path):
    for name in ("train", "test"):
        for i in range(5):
            picture(tmp_path / name / f"cat.{i}.png", (9, i, 1))
    with pytest.raises(ValueError, match=r"train/ must have a folder for each class|no images in folders of classes"):
        load(f"{tmp_path}/")


def test_what_is_hidden_or_empty_is_passed_over(tmp_path, capsys):
    classes_of(tmp_path)
    wanted = load(f"{tmp_path}/").fingerprint
    picture(tmp_path / ".ipynb_checkpoints" / "0-checkpoint.png", (1, 2, 3))
    picture(tmp_path / "ants" / ".ipynb_checkpoints" / "0-checkpoint.png", (1, 2, 3))
    (tmp_path / "__MACOSX" / "ants").mkdir(parents=True)
    for place in ("__MACOSX/ants", "ants"):
        (tmp_path / place / "._0.png").write_bytes(bytes(9))
    (tmp_path / "wasps").mkdir()
    (tmp_path / "ants" / "Thumbs.db").touch()
    os.mkfifo(tmp_path / "ants" / "pipe.png")
    for name, target in (("round", "ants"), ("up", "."), ("back", "..")):
        (tmp_path / "ants" / name).symlink_to(tmp_path / target, target_is_directory=True)
    capsys.readouterr()
    assert load(f"{tmp_path}/").fingerprint == wanted
    assert "wasps/" in capsys.readouterr().err


def test_one_class_is_a_folder_too_high(tmp_path):
    classes_of(tmp_path / "photos" / "photos")
    with pytest.raises(ValueError, match=r"'photos'; give the folder inside it, .*photos/photos/$"):
        load(f"{tmp_path}/photos/")
    with pytest.raises(ValueError, match=r"one class only, 'ants'"):
        shutil.rmtree(tmp_path / "photos" / "photos" / "bees")
        load(f"{tmp_path}/photos/photos/")


def test_a_system_s_folder_is_given_up_soon(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^/ is the root"):
        load("/")
    monkeypatch.setattr(layout, "MOST_OTHERS", 20)
    for i in range(30):
        (tmp_path / "etc" / str(i)).mkdir(parents=True)
        (tmp_path / "etc" / str(i) / "file").touch()
    with pytest.raises(ValueError, match="no images; give the folder of the images"):
        load(f"{tmp_path}/")


@pytest.mark.parametrize("n, tests", ((2, 1), (4, 1), (9, 1), (10, 2), (20, 4)))
def test_a_class_of_few_images_is_tested_and_told_of(tmp_path, n, tests, capsys):
    data = load(f"{classes_of(tmp_path, **{'': n})}/")
    assert data.y_test.bincount().tolist() == [tests, tests] and data.y_train.bincount().tolist() == [n - tests] * 2
    assert f"{2 * tests} test images: one more or less is {50 / tests:.1f} points" in capsys.readouterr().err


def test_a_single_image_of_each_class_cannot_be_tested(tmp_path):
    with pytest.raises(ValueError, match="one image of each class"):
        load(f"{classes_of(tmp_path, **{'': 1})}/")


# Images as they are seen


def saved(tmp_path, image, suffix=".png", **options):
    """A folder with ten of an image in each of two classes, loaded: the first image, (C, H, W)."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
        for i in range(10):
            image.save(tmp_path / name / f"{i}{suffix}", **options)
    return load(f"{tmp_path}/", size=8).x_train[0]


@pytest.mark.parametrize(
    "tag, turned", ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (5, Image.Transpose.TRANSPOSE))
)
def test_images_are_turned_as_their_exif_tag_says(tmp_path, tag, turned):
    array = np.zeros((8, 8), np.uint8)
    array[:2] = 255
    array[:, 0] = 128
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = Image.fromarray(array).transpose(turned)
    assert saved(tmp_path, stored, exif=exif)[0].numpy().tolist() == array.tolist()


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    "deep, suffix",
    (
        ((65535 * RAMP).round().astype(np.uint16), ".png"),
        ((4095 * RAMP).round().astype(np.uint16), ".png"),
        ((65535 * RAMP).round().astype(np.uint16), ".tif"),
        ((10**6 * RAMP).round().astype(np.int32), ".tif"),
        (RAMP.astype(np.float32), ".tif"),
        ((6000 * RAMP - 2000).astype(np.float32), ".tif"),
    ),
)
def test_images_of_more_than_8_bits_keep_their_range(tmp_path, deep, suffix, capsys):
    image = saved(tmp_path, Image.fromarray(deep), suffix)
    assert image.shape[0] == 1 and np.abs(image[0].numpy() - 255 * RAMP).max() <= 1
    assert "scaled" in capsys.readouterr().err


def transparent(mode):
    red = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    red.paste((0, 0, 0, 0), (0, 0, 8, 4))
    return red.convert(mode) if mode != "P" else red.quantize(4)


@pytest.mark.parametrize("mode", ("RGBA", "LA", "P"))
def test_transparent_pixels_are_white(tmp_path, mode):
    image = saved(tmp_path, transparent(mode))
    assert (image[:, :3] == 255).all() and (image[-1, 5:] < 120).all()


def test_a_palette_is_read_in_its_colours(tmp_path):
    image = Image.new("RGB", (8, 8), (10, 20, 30)).quantize(2)
    assert saved(tmp_path, image)[:, 0, 0].tolist() == [10, 20, 30]


def test_images_that_are_not_finite_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a/\d\.tif .*finite"):
        saved(tmp_path, Image.fromarray(np.full((8, 8), np.nan, np.float32)), ".tif")
