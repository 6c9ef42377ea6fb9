"""The data of the lab: the digits that come with fanwise, or images from a file, ready to train on."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanwise.lab.files import PIXEL_LIMIT, DataError, Examples, read_examples, read_npz

Float32: TypeAlias = NDArray[np.float32]
Int64: TypeAlias = NDArray[np.int64]

ENLARGED = 28
"""Side of the enlarged digits: 784 inputs, as MNIST has."""

TEST_EVERY = 5
"""Without a test set of its own, every fifth example of a data set is one."""

CONSTANT = 1e-6
"""Pixels whose std is this small beside their mean differ by no more than float32 rounds them by."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples, split into training and test set.

    Args:
        name: what reports call it.
        train_x: inputs, shape (n, inputs), float32.
        train_y: labels in [0, classes), shape (n,), int64.
        test_x: inputs, shape (m, inputs), float32.
        test_y: labels, shape (m,), int64.
        classes: number of classes.

    Raises:
        DataError: shapes or dtypes that do not fit each other, no examples, or a label outside the classes.
    """

    name: str
    train_x: Float32 = field(repr=False)
    train_y: Int64 = field(repr=False)
    test_x: Float32 = field(repr=False)
    test_y: Int64 = field(repr=False)
    classes: int

    def __post_init__(self) -> None:
        _check_part(self, "train", self.train_x, self.train_y)
        _check_part(self, "test", self.test_x, self.test_y)

    @property
    def inputs(self) -> int:
        """Number of inputs of an example."""
        return int(self.train_x.shape[1])


def load_digits() -> Dataset:
    """The 1,797 handwritten digits that come with fanwise, enlarged from 8x8 to 28x28 pixels.

    1,437 train and 360 test. No file, network or random number is involved, and the enlarging is exact, so
    every machine has the same numbers. Source and licence: DIGITS-LICENSE.md beside this file.

    Example:
        >>> data = load_digits()
        >>> data.train_x.shape, data.test_x.shape, data.classes
        ((1437, 784), (360, 784), 10)
        >>> bool(abs(np.square(data.train_x).mean() - 1) < 1e-4)
        True
    """
    digits, _ = read_npz(Path(__file__).with_name("digits.npz"))
    enlarge = _bilinear(digits.x.shape[1], ENLARGED)
    images = enlarge @ digits.x.astype(np.float64) @ enlarge.T
    return _dataset("digits", *_split(Examples(digits.source, images, digits.y)))


def load(path: str | os.PathLike[str]) -> Dataset:
    """A data set of images from a file or folder, normalised by the mean and std of its training pixels.

    - a folder with MNIST's files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and, for the test,
      ``t10k-...``, each plain or with .gz;
    - one IDX file of images, plain or .gz: its labels, and its test set where there is one, stand beside it under
      MNIST's names;
    - an .npz archive with x_train, y_train, x_test, y_test (Keras's mnist.npz), or x, y, or data, target.

    Images may have any shape (n, ...). Where there is no test set, every fifth example becomes one, in the
    order of the labels, so that each class gives a fifth.

    Raises:
        DataError: nothing usable stands there; one line with the file, what was found and what was expected.
    """
    source = Path(path)
    train, test = read_examples(source)
    return _dataset(source.absolute().name, *((train, test) if test else _split(train)))


def _bilinear(size: int, enlarged: int) -> NDArray[np.float64]:
    """Weights of bilinear interpolation along one axis, edges repeated, pixel centres at half positions.

    They are whole numbers, in units of 1 / (2 * enlarged): sums of them are exact in any order.

    Returns:
        Shape (enlarged, size); each row sums to 2 * enlarged.
    """
    unit = 2 * enlarged
    centres = (2 * np.arange(enlarged) + 1) * size - enlarged
    centres = np.clip(centres, 0, (size - 1) * unit)
    distances = abs(centres[:, None] - unit * np.arange(size))
    weights: NDArray[np.float64] = np.maximum(unit - distances, 0).astype(np.float64)
    return weights


def _split(examples: Examples) -> tuple[Examples, Examples]:
    """Every fifth example in the order of the labels, and the other four; both keep the order of the file."""
    held_out = np.zeros(len(examples.y), bool)
    held_out[np.argsort(examples.y, kind="stable")[::TEST_EVERY]] = True
    if held_out.all():
        raise DataError(f"{str(examples.source)!r}: holds 1 image, expected at least 2: one trains, one tests")
    return _part(examples, ~held_out), _part(examples, held_out)


def _part(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    return Examples(examples.source, examples.x[chosen], examples.y[chosen])


def _dataset(name: str, train: Examples, test: Examples) -> Dataset:
    """Flattens and normalises: the training inputs get mean 0 and second moment 1, over all of them together."""
    if train.x.shape[1:] != test.x.shape[1:]:
        raise DataError(f"{str(test.source)!r}: images are {test.x.shape[1:]}, the training set's {train.x.shape[1:]}")
    classes = int(max(train.y.max(), test.y.max())) + 1
    if classes == 1:
        raise DataError(f"{str(train.source)!r}: every label is 0, expected at least two classes")
    train_x, test_x = _normalized(train, test)
    return Dataset(name, train_x, train.y.astype(np.int64), test_x, test.y.astype(np.int64), classes)


def _normalized(train: Examples, test: Examples) -> tuple[Float32, Float32]:
    train_x, test_x = (part.x.reshape(len(part.x), -1).astype(np.float32) for part in (train, test))
    mean, std = train_x.mean(dtype=np.float64), train_x.std(dtype=np.float64)
    if std <= max(CONSTANT * abs(mean), 1 / PIXEL_LIMIT):
        raise DataError(f"{str(train.source)!r}: pixels have mean {mean:g} and std {std:g}, expected them to differ")
    shift, scale = np.float32(mean), np.float32(std)
    return (train_x - shift) / scale, (test_x - shift) / scale


def _check_part(data: Dataset, part: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    description = f"data set {data.name!r}: {part}_x {x.shape} {x.dtype}, {part}_y {y.shape} {y.dtype}"
    if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] != data.train_x.shape[1] or not x.size:
        raise DataError(f"{description}: expected (n, inputs) and (n,), n > 0, inputs as in training")
    if x.dtype != np.float32 or y.dtype != np.int64:
        raise DataError(f"{description}: expected float32 and int64")
    if not 0 <= y.min() <= y.max() < data.classes:
        raise DataError(f"{description}: labels reach from {y.min()} to {y.max()}, expected 0 to {data.classes - 1}")
