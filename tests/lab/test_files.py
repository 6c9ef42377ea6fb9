"""What `load` says to files that are missing, broken or hostile."""

import gzip
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fanwise.lab import DataError, load
from fanwise.lab.files import read_idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 3), np.uint8)
LABELS = (np.arange(20) % 4).astype(np.uint8)
TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: np.ndarray) -> bytes:
    """An IDX file, written from the format's description."""
    header = struct.pack(">4B", 0, 0, TYPES[array.dtype.str[1:]], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_pair(folder: Path, images: bytes, labels: bytes = idx(LABELS)) -> Path:
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(images)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip_of_every_type(tmp_path, dtype, packed):
    array = RNG.integers(-100, 100, (5, 2, 3)).astype(dtype)
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


BROKEN_IMAGES = {
    "empty": (b"", "begins with nothing"),
    "short magic": (b"\0\0\x08", "begins with 00 00 08"),
    "wrong magic": (b"\1\0" + idx(IMAGES)[2:], "begins with 01 00 08 03"),
    "unknown type": (b"\0\0\x0a\x03" + idx(IMAGES)[4:], "begins with 00 00 0a 03"),
    "no axes": (b"\0\0\x08\x00", "begins with 00 00 08 00"),
    "255 axes": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "begins with 00 00 08 ff"),
    "a text": (b"<html>", "begins with 3c 68 74 6d"),
    "cut in the header": (idx(IMAGES)[:13], "header of 16 bytes"),
    "cut after the header": (idx(IMAGES)[:16], "at most 16"),
    "one byte short": (idx(IMAGES)[:-1], "it has 239"),
    "one byte more": (idx(IMAGES) + b"\0", "it has more"),
    "a size beyond memory": (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3) + b"12", "can hold at most 18"),
    "no images": (idx(IMAGES[:0]), "none of them 0"),
    "no pixels": (idx(IMAGES[:, :0]), "none of them 0"),
    "one axis": (idx(LABELS), "expected (n, height, width)"),
    "another count": (idx(IMAGES[:19]), "expected (19,)"),
    "all pixels equal": (idx(np.full_like(IMAGES, 7)), "mean 7 and std 0"),
    "pixels equal up to rounding": (idx(np.full(IMAGES.shape, 0.1, "f4")), "expected them to differ"),
    "a NaN": (idx(np.where(IMAGES[3, 2, 1] == IMAGES, np.nan, IMAGES).astype("f4")), "reach from nan to nan"),
    "infinity": (idx(np.where(IMAGES[3, 2, 1] == IMAGES, np.inf, IMAGES).astype("f4")), "to inf"),
    "beyond float32": (idx(IMAGES * 1e300), "expected numbers below 1e+18"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BROKEN_IMAGES)
def test_broken_images_are_refused_in_one_line(tmp_path, case, packed):
    content, found = BROKEN_IMAGES[case]
    path = write_pair(tmp_path, content)
    if packed:
        path.unlink()
        path = path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(content))
    message = refusal(path)
    assert path.name in message
    assert found in message or (packed and "at most" in found)  # a packed file may hold more than its own size


BROKEN_LABELS = {
    "too few": (idx(LABELS[:-1]), "expected (20,)"),
    "two axes": (idx(LABELS[:, None]), "expected (20,)"),
    "floats": (idx(LABELS.astype("f4")), "expected integers"),
    "negative": (idx(LABELS.astype("i1") - np.int8(1)), "reach from -1 to 2"),
    "a thousand": (idx(LABELS.astype("i2") // 3 * 1000), "reach from 0 to 1000"),
    "one class": (idx(LABELS * 0), "expected at least two classes"),
}


@pytest.mark.parametrize("case", BROKEN_LABELS)
def test_broken_labels_are_refused(tmp_path, case):
    content, found = BROKEN_LABELS[case]
    assert found in refusal(write_pair(tmp_path, idx(IMAGES), content))


def test_labels_that_are_not_there(tmp_path):
    path = write_pair(tmp_path, idx(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte': expected a file here, found none" in refusal(path)


def test_a_test_set_of_another_shape(tmp_path):
    path = write_pair(tmp_path, idx(IMAGES))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:, :2]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert "t10k-images-idx3-ubyte': images are (2, 3), the training set's (4, 3)" in refusal(path)


def test_paths_that_are_no_data(tmp_path):
    assert "found none" in refusal(tmp_path / "train-images-idx3-ubyte")
    assert "found none" in refusal(tmp_path / "mnist.npz")
    assert "'images' in its name" in refusal(tmp_path / "mnist.csv")
    assert "none of train-images-idx3-ubyte" in refusal(tmp_path)
    (tmp_path / "images.npz").mkdir()
    assert "none of train-images-idx3-ubyte" in refusal(tmp_path / "images.npz")
    (tmp_path / "images").symlink_to("/dev/zero")
    assert "found no file" in refusal(tmp_path / "images")


def test_a_gzip_that_is_none_or_damaged(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(idx(IMAGES))
    assert "BadGzipFile" in refusal(path)
    packed = gzip.compress(idx(IMAGES))
    path.write_bytes(packed[:-9])
    assert "EOFError" in refusal(path)
    path.write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    assert "CRC" in refusal(path)


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES) + bytes(1 << 26)))
    tracemalloc.start()
    assert "it has more" in refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


BROKEN_ARCHIVES = {
    "other names": ({"images": IMAGES, "labels": LABELS}, "holds ['images', 'labels'], expected x_train"),
    "labels missing": ({"x": IMAGES}, "holds ['x']"),
    "pickled": ({"x": IMAGES.astype(object), "y": LABELS}, "Object arrays cannot be loaded"),
    "text": ({"x": IMAGES.astype(str), "y": LABELS}, "expected integers or floats"),
    "complex": ({"x": IMAGES.astype(complex), "y": LABELS}, "expected integers or floats"),
    "a scalar": ({"x": np.float32(1), "y": LABELS}, "shape ()"),
    "one image": ({"x": IMAGES[:1], "y": LABELS[1:2]}, "holds 1 image"),
    "NaN": ({"x": np.where(IMAGES < 9, np.nan, IMAGES), "y": LABELS}, "reach from nan"),
    "float labels": ({"x": IMAGES, "y": LABELS / 2}, "expected integers"),
    "labels beyond int64": ({"x": IMAGES, "y": LABELS + np.uint64(2**63)}, "expected 0 to 999"),
    "one test label too many": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:5], "y_test": LABELS[:6]},
        "expected (5,)",
    ),
}


@pytest.mark.parametrize("case", BROKEN_ARCHIVES)
def test_broken_archives_are_refused(tmp_path, case):
    arrays, found = BROKEN_ARCHIVES[case]
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    assert found in refusal(path)


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"no zip", idx(IMAGES)):
        path.write_bytes(content)
        assert "BadZipFile" in refusal(path)
    np.savez(path, x=IMAGES, y=LABELS)
    path.write_bytes(path.read_bytes()[:-30])
    assert "BadZipFile" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
        archive.writestr("y.npy", b"")
    assert "ValueError" in refusal(path)


def test_an_array_header_that_promises_more_than_its_member_holds(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=IMAGES, y=LABELS)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        x, y = archive.read("x.npy"), archive.read("y.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", x.replace(b"(20, 4, 3), }          ", b"(20, 4, 3000000000), } "))
        archive.writestr("y.npy", y)
    assert path.read_bytes() != content
    assert "found" in refusal(path)
