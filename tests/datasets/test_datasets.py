"""The data sets: what ships inside, and readers that refuse damaged files with a clear word."""

import gzip
import re

import numpy as np
import pytest

from fastbp.datasets import load_digits, load_fashion_mnist, read_idx
from fastbp.datasets.fashion_mnist import CLASS_NAMES, DEBIAN_FOLDER


def idx(array, kind=8):
    header = bytes([0, 0, kind, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """A small Fashion-MNIST: half of the files compressed."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 7), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 28, 28))
        images[0, 0, :2] = 0, 255
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    return tmp_path


def test_digits_have_the_documented_form():
    data = load_digits()
    assert (data.x_train.shape, data.x_test.shape) == ((1442, 64), (355, 64))
    assert (data.x_train.dtype, data.y_train.dtype) == (np.float32, np.int64)
    assert data.x_train.min() == 0
    assert data.x_train.max() == 1
    assert data.image_shape == (8, 8)
    assert data.class_names == tuple("0123456789")


def test_digits_split_is_stratified_and_disjoint():
    data = load_digits()
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    np.testing.assert_array_equal(test, (train + test) // 5)
    rows = np.concatenate([data.x_train, data.x_test])
    assert len(np.unique(rows, axis=0)) == len(rows) == 1797


def test_digits_are_those_of_scikit_learn():
    sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    data, theirs = load_digits(), sklearn_datasets.load_digits()
    ours = {(*row, label) for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
            for row, label in zip((16 * x).tolist(), y.tolist(), strict=True)}
    assert ours == {(*row, label) for row, label in zip(theirs.data.tolist(), theirs.target.tolist(), strict=True)}


def test_fashion_mnist_reads_plain_and_compressed_files(folder):
    data = load_fashion_mnist(folder)
    assert (data.x_train.shape, data.x_test.shape) == ((7, 784), (3, 784))
    assert (data.x_train.dtype, data.y_train.dtype) == (np.float32, np.int64)
    assert data.x_train[0, :2].tolist() == [0, 1]
    assert data.y_test.tolist() == [0, 1, 2]
    assert load_fashion_mnist(str(folder)).class_names == CLASS_NAMES


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian():
    data = load_fashion_mnist()
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 784), (10_000, 784))
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    # the published statistics of the training images
    assert data.x_train.mean(dtype=np.float64) == pytest.approx(0.2860, abs=5e-5)
    assert data.x_train.std(dtype=np.float64) == pytest.approx(0.3530, abs=5e-5)


def test_a_missing_file_says_what_to_install(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_fashion_mnist(tmp_path)
    assert str(error.value) == (
        f"load_fashion_mnist: there is no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in {tmp_path}. On "
        "Debian and Ubuntu install the package with: apt-get install dataset-fashion-mnist. Or give the folder that "
        "holds the files: load_fashion_mnist(path)")


def break_and_load(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        load_fashion_mnist(folder)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(("content", "message"), [
    (b"", "this is no IDX file: it begins with b''; expected two zero bytes, a type and a number of axes"),
    (b"\x89PNG\r\n", "this is no IDX file: it begins with b'\\x89PNG'; expected two zero bytes, a type and a number of "
                     "axes"),
    (idx(np.arange(7), kind=0x0D), "its elements have the type code 0x0d; expected 0x08, unsigned bytes"),
    (idx(np.arange(7))[:6], "the file is cut short within its header; get it anew"),
    (idx(np.arange(7))[:-2], "the file is cut short: it has 5 bytes of data; expected 7, as its header says (7,); get "
                             "it anew"),
    (idx(np.arange(7)) + b"!", "the file is damaged: it has 8 bytes of data; expected 7, as its header says (7,); get "
                               "it anew"),
    (b"\0\0\x08\x03" + 12 * b"\xff", f"the file is cut short: it has 0 bytes of data; expected {(2**32 - 1)**3}, as "
                                     "its header says (4294967295, 4294967295, 4294967295); get it anew"),
    (idx(np.arange(6)), "its array has shape (6,); expected (7,), a label for each image"),
    (idx(np.arange(7) + 4), "it has the label 10; expected labels from 0 to 9"),
])
def test_damaged_labels(folder, content, message):
    assert break_and_load(folder, "train-labels-idx1-ubyte", content) == message


def test_images_of_another_size(folder):
    content = gzip.compress(idx(np.zeros((7, 32, 32))))
    message = "its array has shape (7, 32, 32); expected (N, 28, 28)"
    assert break_and_load(folder, "train-images-idx3-ubyte.gz", content) == message


def test_every_damage_of_a_compressed_file_is_noticed(tmp_path):
    path = tmp_path / "file.gz"
    content = gzip.compress(idx(np.arange(40)), mtime=0)
    for length in range(2, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="the compressed file is cut short or damaged"):
            read_idx(path)
    for position in range(10, len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1:])
        with pytest.raises(ValueError, match="damaged"):
            read_idx(path)
