"""The digits against scikit-learn and SciPy, and data sets read back from files."""

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from scipy.ndimage import zoom

import fanwise.lab
from fanwise.lab import DataError, Dataset, load, load_digits
from fanwise.lab.files import read_npz

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (43, 5, 4), np.uint8)
LABELS = RNG.permutation(np.arange(43) % 3).astype(np.uint8)
MORE = RNG.integers(0, 256, (11, 5, 4), np.uint8)
MORE_LABELS = (np.arange(11) % 3).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(path, array, *, packed=False):
    content = idx(array)
    path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)


def same(left: Dataset, right: Dataset) -> bool:
    names = ("train_x", "train_y", "test_x", "test_y")
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)


def test_the_digits_are_scikit_learns():
    ours, _ = read_npz(Path(fanwise.lab.__file__).with_name("digits.npz"))
    theirs = sklearn.datasets.load_digits()
    np.testing.assert_array_equal(ours.x, theirs.images)
    np.testing.assert_array_equal(ours.y, theirs.target)


def test_the_digits_are_enlarged_as_scipy_does(digits):
    theirs = sklearn.datasets.load_digits()
    enlarged = np.stack([zoom(image, 3.5, order=1, mode="nearest", grid_mode=True) for image in theirs.images])
    held_out = np.zeros(1797, bool)
    for label in range(10):  # a fifth of each class, to within one image
        assert abs(np.sum(digits.test_y == label) - np.sum(theirs.target == label) / 5) <= 1
    held_out[np.argsort(theirs.target, kind="stable")[::5]] = True
    np.testing.assert_array_equal(digits.test_y, theirs.target[held_out])
    np.testing.assert_array_equal(digits.train_y, theirs.target[~held_out])
    train = enlarged[~held_out]
    for ours, images in ((digits.train_x, train), (digits.test_x, enlarged[held_out])):
        expected = ((images - train.mean()) / train.std()).reshape(len(images), 784)
        # float32 rounds values up to 3.3 once at their own size and once at that of the pixels before scaling
        np.testing.assert_allclose(ours, expected, rtol=0, atol=3.3 * 2**-22)


def test_the_digits_have_second_moment_one_and_known_bits(digits):
    x = digits.train_x.astype(np.float64)
    assert abs(x.mean()) < 1e-6
    assert abs(np.square(x).mean() - 1) < 1e-6
    assert digits.train_x.dtype == np.float32
    assert digits.train_y.dtype == np.int64
    assert digits.inputs == 784
    digest = hashlib.sha256(digits.train_x.astype("<f4").tobytes()).hexdigest()
    assert digest == "a8bbb2cd2cf4373cd3fc5de00c67c972b70dc89735b7256d2f52a635677c95cd"
    assert same(digits, load_digits())


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_mnist_files(tmp_path, packed):
    write(tmp_path / "train-images-idx3-ubyte", IMAGES, packed=packed)
    write(tmp_path / "train-labels-idx1-ubyte", LABELS)
    write(tmp_path / "t10k-images-idx3-ubyte", MORE)
    write(tmp_path / "t10k-labels-idx1-ubyte", MORE_LABELS, packed=packed)
    data = load(tmp_path)
    assert data.name == tmp_path.name
    assert data.classes == 3
    np.testing.assert_array_equal(data.train_y, LABELS)
    np.testing.assert_array_equal(data.test_y, MORE_LABELS)
    mean, std = IMAGES.mean(), IMAGES.std()
    np.testing.assert_allclose(data.train_x, ((IMAGES - mean) / std).reshape(43, 20), atol=1e-6)
    np.testing.assert_allclose(data.test_x, ((MORE - mean) / std).reshape(11, 20), atol=1e-6)
    assert same(data, load(tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)))


def test_one_file_of_images_gives_its_own_test_set(tmp_path):
    write(tmp_path / "my-images.idx", IMAGES)
    write(tmp_path / "my-labels.idx", LABELS, packed=True)
    data = load(str(tmp_path / "my-images.idx"))
    assert (len(data.train_y), len(data.test_y)) == (34, 9)
    assert [int(np.sum(data.test_y == label)) for label in range(3)] == [3, 3, 3]
    together = np.concatenate([data.train_x, data.test_x])
    whole = ((IMAGES.reshape(43, 20) - IMAGES.mean()) / IMAGES.std()).astype(np.float32)
    assert len(np.unique(together.round(3), axis=0)) == len(np.unique(whole.round(3), axis=0))


@pytest.mark.parametrize("names", [("x_train", "y_train", "x_test", "y_test"), ("x", "y"), ("data", "target")])
def test_archives_of_every_kind(tmp_path, names):
    arrays = (IMAGES, LABELS.astype(np.int64), MORE, MORE_LABELS)
    np.savez(tmp_path / "a.npz", **dict(zip(names, arrays, strict=False)))
    data = load(tmp_path / "a.npz")
    assert data.name == "a.npz"
    assert len(data.test_y) == (11 if len(names) == 4 else 9)


def test_scale_and_offset_of_the_pixels_do_not_matter(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    np.savez(tmp_path / "b.npz", x=(IMAGES.reshape(43, 20) / 255.0).astype(np.float16), y=LABELS)
    np.savez(tmp_path / "c.npz", x=IMAGES * 1e15 - 3e17, y=LABELS)
    a, b, c = (load(tmp_path / f"{name}.npz") for name in "abc")
    np.testing.assert_allclose(a.train_x, b.train_x, atol=2**-11 * 4)  # half a unit of float16, pixels over std 0.29
    np.testing.assert_allclose(a.train_x, c.train_x, atol=1e-5)


def test_labels_in_order_are_split_by_class(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES[:40], y=np.repeat([0, 1], 20))
    data = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.bincount(data.test_y), [4, 4])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"train_y": np.zeros(3, np.int64)}, "expected (n, inputs) and (n,)"),
        ({"test_x": np.zeros((360, 783), np.float32)}, "inputs as in training"),
        ({"test_x": np.zeros((0, 784), np.float32), "test_y": np.zeros(0, np.int64)}, "n > 0"),
        ({"train_x": np.zeros((1437, 784))}, "expected float32 and int64"),
        ({"test_y": np.full(360, 10)}, "reach from 10 to 10, expected 0 to 9"),
        ({"test_y": np.full(360, -1)}, "reach from -1 to -1, expected 0 to 9"),
    ],
)
def test_a_data_set_checks_its_arrays(digits, change, found):
    with pytest.raises(DataError, match="data set 'digits'") as caught:
        replace(digits, **change)
    assert found in str(caught.value)
