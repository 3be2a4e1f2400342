import numpy as np
import pytest
from PIL import Image

from normbench.data import folder, load


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
    (tmp_path / "a").mkdir()
    for i in range(5):
        Image.fromarray(array).save(tmp_path / "a" / f"{i}.png")
    assert (load(f"{tmp_path}/", size=10).x_train == 200).all()


def test_grey_images_have_one_channel(tmp_path):
    for i in range(5):
        picture(tmp_path / "a" / f"{i}.png", (90, 90, 90))
    assert load(f"{tmp_path}/").image_shape == (1, 32, 32)


def test_one_image_in_colour_keeps_the_channels_of_all(tmp_path):
    for i in range(5):
        picture(tmp_path / "a" / f"{i}.png", (90, 90, 91 if i == 3 else 90))
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
    assert "test/" in said and "cat" in said and "dog" not in said


def foreign_class(split):
    picture(split / "test" / "bird" / "1.png", (0, 0, 0))


def empty_class(split):
    (split / "train" / "bird").mkdir()


def broken_image(split):
    (split / "train" / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")


@pytest.mark.parametrize(
    "damage, message",
    (
        (foreign_class, "test/.*'bird'.*train/"),
        (empty_class, "'bird'"),
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
