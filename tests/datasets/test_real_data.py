"""Real data sets and their splits."""

import gzip

import numpy as np
import pytest

import keras_deeptricks as kdt


@pytest.mark.parametrize(
    "name, rows, shape",
    [("digits", 1797, (8, 8)), ("diabetes", 442, (10,)), ("breast_cancer", 569, (30,))],
)
def test_every_row_is_in_one_part(name, rows, shape):
    data = kdt.datasets.load(name, seed=3)
    parts = [data.x_train, data.x_validation, data.x_test]
    assert sum(map(len, parts)) == rows
    assert all(part.shape[1:] == shape for part in parts)
    assert len(data.x_test) == np.ceil(0.2 * rows)
    other = kdt.datasets.load(name, seed=4)
    whole = [np.concatenate([d.y_train, d.y_validation, d.y_test]) for d in (data, other)]
    np.testing.assert_array_equal(np.sort(whole[0]), np.sort(whole[1]))
    assert not np.array_equal(whole[0], whole[1])


def test_the_seed_fixes_the_split():
    first, second = (kdt.datasets.load("digits", seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.x_train, second.x_train)
    assert first.validation_data[1] is first.y_validation


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with gzip.open(path, "wb") as file:
        file.write(header + array.astype("uint8").tobytes())


def test_mnist_from_files(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "datasets" / "mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sets = [(rng.integers(0, 256, (n, 3, 2)), rng.integers(0, 10, n)) for n in (5004, 7)]
    for part, (images, labels) in zip(("train", "t10k"), sets, strict=True):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    data = kdt.datasets.load("mnist")
    np.testing.assert_array_equal(data.x_validation, sets[0][0][:5000])
    np.testing.assert_array_equal(data.x_train, sets[0][0][5000:])
    np.testing.assert_array_equal(data.y_train, sets[0][1][5000:])
    np.testing.assert_array_equal(data.x_test, sets[1][0])
    np.testing.assert_array_equal(data.y_test, sets[1][1])

    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\x00\x00\x09\x01" * 3))
    with pytest.raises(ValueError, match="IDX"):
        kdt.datasets.load("mnist")


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"name": "letters"}, "name"),
        ({"name": "digits", "seed": -1}, "seed"),
        ({"name": "digits", "test_share": 1.0}, "test_share"),
        ({"name": "digits", "validation_share": 0.0}, "validation_share"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        kdt.datasets.load(**arguments)
