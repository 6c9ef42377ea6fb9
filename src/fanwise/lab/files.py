"""Reads labelled images from IDX files (MNIST) and NumPy archives, and trusts nothing in them."""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

BYTE_LIMIT = 1 << 30
"""No array larger than this is read; the largest of the MNIST family, EMNIST by class, has 547 MB of pixels."""

PIXEL_LIMIT = 1e18
"""Pixels must stay below: one pixel over the smallest std that counts, 1e-18, then still fits into float32."""

LABEL_LIMIT = 1000
"""Labels must stay below: ImageNet has 1,000 classes, and every class costs a column of weights."""

DEFLATE_RATIO = 1032
"""Deflate shrinks nothing further than 1032:1 (zlib, "Technical Details", section "Maximum Compression Factor")."""

IDX_TYPES: Mapping[int, str] = MappingProxyType({8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"})
"""The third byte of an IDX file: what its elements are (LeCun, Cortes and Burges, the MNIST page)."""

IDX_AXES = 4
"""Images with channels have four axes; the format allows 255, which is more than NumPy does."""

IDX_TRAINING = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
"""Names of MNIST's training images, as published and as some archives unpack them; each also with .gz."""

IDX_TEST = ("t10k", "test")
"""What stands for "train" in the names of the test set: MNIST's and EMNIST's."""

NPZ_NAMES = (("x_train", "y_train", "x_test", "y_test"), ("x", "y"), ("data", "target"))
"""Names of images and labels in an archive: Keras's mnist.npz, and two in common use."""

UNREADABLE = (ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What gzip, zipfile and NumPy raise on damaged files; encrypted and exotic zip members give RuntimeErrors."""


class DataError(ValueError):
    """A data set that cannot be used: one line with the file, what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and their labels as a file holds them, checked.

    Args:
        source: the file of the images, which errors name.
        x: images, shape (n, ...), integers or floats.
        y: labels, shape (n,), integers.

    Raises:
        DataError: what the check found.
    """

    source: Path
    x: Array
    y: Array

    def __post_init__(self) -> None:
        _check_images(self.source, self.x)
        _check_labels(self.source, self.y, count=len(self.x))


def read_examples(path: Path) -> tuple[Examples, Examples | None]:
    """Training examples, and the test examples where the file or folder has them.

    Args:
        path: a folder with MNIST's four files, its file of images alone, or an .npz archive.

    Raises:
        DataError: nothing usable stands there.
    """
    if path.is_dir():
        names = [name + ending for name in IDX_TRAINING for ending in ("", ".gz")]
        files = [path / name for name in names if (path / name).is_file()]
        if not files:
            raise DataError(f"{str(path)!r}: the folder has none of {', '.join(names)}")
        return _read_idx_set(files[0])
    return read_npz(path) if path.suffix == ".npz" else _read_idx_set(path)


def read_npz(path: Path) -> tuple[Examples, Examples | None]:
    """Examples of a NumPy archive; see `NPZ_NAMES` for what it may call them.

    Raises:
        DataError: it is no archive, has other names, holds pickled objects, or is damaged.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        names = next((names for names in NPZ_NAMES if set(names) <= set(members)), None)
        if names is None:
            expected = " or ".join(", ".join(names) for names in NPZ_NAMES)
            raise DataError(f"{str(path)!r}: holds {sorted(members)[:8]}, expected {expected}")
        arrays = [_read_member(archive, members[name], path) for name in names]
    train, *test = (Examples(path, *arrays[i : i + 2]) for i in range(0, len(arrays), 2))
    return train, test[0] if test else None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    if member.file_size > BYTE_LIMIT:
        raise DataError(f"{str(path)!r}: {member.filename} has {member.file_size} bytes, the limit is {BYTE_LIMIT}")
    with archive.open(member) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _read_idx_set(images: Path) -> tuple[Examples, Examples | None]:
    """The set that a file of images belongs to: its labels and its test set stand beside it."""
    if "images" not in images.name:
        raise DataError(f"{str(images)!r}: expected .npz, a folder, or an IDX file with 'images' in its name")
    beside = [_beside(images, "train", word) for word in IDX_TEST if "train" in images.name]
    test = next((path for path in beside if path.is_file()), None)
    return _read_idx_pair(images), _read_idx_pair(test) if test else None


def _read_idx_pair(images: Path) -> Examples:
    labels = _beside(_beside(images, "idx3", "idx1"), "images", "labels")
    return Examples(images, read_idx(images), read_idx(labels))


def _beside(path: Path, word: str, other: str) -> Path:
    """The path with one word of its file name exchanged, packed or not, whichever is there."""
    plain = path.name.replace(word, other).removesuffix(".gz")
    packed = path.with_name(plain + ".gz")
    return packed if packed.is_file() else path.with_name(plain)


def read_idx(path: Path) -> Array:
    """The array of an IDX file, plain or gzipped.

    Two zero bytes, the type (see `IDX_TYPES`), the number of axes, then a big-endian uint32 for each axis and
    the elements in C order. The size that the header promises is held against the file's before memory is taken.

    Raises:
        DataError: it is missing, no IDX file, or its size is not what its header says.
    """
    packed = path.suffix == ".gz"
    with _reading(path), gzip.open(path) if packed else path.open("rb") as stream:
        dtype, shape = _idx_header(path, stream)
        size = math.prod(shape) * dtype.itemsize
        promised = f"its header promises {size} bytes of elements {shape}"
        most = min(path.stat().st_size * (DEFLATE_RATIO if packed else 1), BYTE_LIMIT)
        if size > most:
            raise DataError(f"{str(path)!r}: {promised}, it can hold at most {most}")
        data = stream.read(size + 1)
    if len(data) != size:
        raise DataError(f"{str(path)!r}: {promised}, it has {'more' if len(data) > size else len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)


def _idx_header(path: Path, stream: BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES or not 1 <= magic[3] <= IDX_AXES:
        expected = f"00 00, a type of {bytes(IDX_TYPES).hex(' ')}, 1 to {IDX_AXES} axes"
        raise DataError(f"{str(path)!r}: begins with {magic.hex(' ') or 'nothing'}, expected an IDX file: {expected}")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{str(path)!r}: ends within its header of {4 + 4 * magic[3]} bytes")
    return np.dtype(IDX_TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes the readers raise into a `DataError`."""
    if not path.is_file():
        raise DataError(f"{str(path)!r}: expected a file here, found {'none' if not path.exists() else 'no file'}")
    try:
        yield
    except DataError:
        raise
    except UNREADABLE as error:
        reason = f"{type(error).__name__} {error}".partition("\n")[0][:200]
        raise DataError(f"{str(path)!r}: expected a file that can be read, found {reason}") from error


def _check_images(source: Path, x: Array) -> None:
    description = f"{str(source)!r}: images have shape {x.shape} and dtype {x.dtype}"
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{description}, expected (n, height, width) or (n, features), none of them 0")
    if x.dtype.kind not in "buif":
        raise DataError(f"{description}, expected integers or floats")
    low, high = float(x.min()), float(x.max())
    if not -PIXEL_LIMIT < low <= high < PIXEL_LIMIT:
        raise DataError(f"{description} and reach from {low:g} to {high:g}, expected numbers below {PIXEL_LIMIT:g}")


def _check_labels(source: Path, y: Array, *, count: int) -> None:
    description = f"{str(source)!r}: labels have shape {y.shape} and dtype {y.dtype}"
    if y.shape != (count,):
        raise DataError(f"{description}, expected ({count},): one for each image")
    if y.dtype.kind not in "ui":
        raise DataError(f"{description}, expected integers")
    low, high = int(y.min()), int(y.max())
    if not 0 <= low <= high < LABEL_LIMIT:
        raise DataError(f"{description} and reach from {low} to {high}, expected 0 to {LABEL_LIMIT - 1}")
