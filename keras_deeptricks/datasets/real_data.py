"""Real data sets, split into training, validation and test rows."""

import dataclasses
import gzip
import os
import pathlib

import numpy as np

from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

NAMES = ("digits", "mnist", "fashion_mnist", "diabetes", "breast_cancer")


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """Arrays of a data set, ready for a recipe.

    Attributes:
        name: Its name.
        x_train, y_train, x_validation, y_validation, x_test, y_test: NumPy arrays.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def validation_data(self):
        """The pair (x, y) that `fit` and the recipes take."""
        return self.x_validation, self.y_validation


def load(name, seed=0, test_share=0.2, validation_share=0.1):
    """Loads a real data set, split at random but reproducibly.

    | name | rows | one row | target |
    |---|---|---|---|
    | `digits` | 1,797 | 8×8 image | 10 classes |
    | `mnist` | 70,000 | 28×28 image | 10 classes |
    | `fashion_mnist` | 70,000 | 28×28 image | 10 classes |
    | `diabetes` | 442 | 10 features | progression after a year, 25–346 |
    | `breast_cancer` | 569 | 30 features | malignant (0) or benign (1) |

    All but MNIST and Fashion-MNIST, which Keras downloads once, are part of scikit-learn. These
    two keep their own test sets, and their first 5,000 training images validate; `seed` and the
    shares do not act on them. Without a network, MNIST is read from its four files, such as
    `train-images-idx3-ubyte.gz`, if they are in `datasets/mnist` of Keras' folder: `~/.keras`, or
    the one that the environment variable `KERAS_HOME` names.

    Args:
        name: One of the names above.
        seed: Whole number that fixes the split.
        test_share: Share of all rows in the test part, above 0 and below 1.
        validation_share: Share of the other rows in the validation part, above 0 and below 1.

    Returns:
        A `DataSet`.

    Raises:
        ImportError: scikit-learn is needed and not installed.
        ValueError: The name is unknown or a share out of range.

    Example:

    ```python
    import keras_deeptricks as kdt

    data = kdt.datasets.load("digits", seed=1)
    assert data.x_train.shape[1:] == (8, 8) and len(data.x_test) == 360
    ```
    """
    check_choice("name", name, NAMES)
    seed = check_integer("seed", seed, minimum=0)
    test_share = check_number("test_share", test_share, above=0, below=1)
    validation_share = check_number("validation_share", validation_share, above=0, below=1)
    if name in ("mnist", "fashion_mnist"):
        return _split_images(name, *(_mnist() if name == "mnist" else _fashion_mnist()))
    x, y = _from_scikit_learn(name)
    order = np.random.default_rng(seed).permutation(len(x))
    tests = int(np.ceil(test_share * len(x)))
    validations = int(np.ceil(validation_share * (len(x) - tests)))
    test, validation, train = np.split(order, [tests, tests + validations])
    return DataSet(name, x[train], y[train], x[validation], y[validation], x[test], y[test])


def _split_images(name, train, test):
    x, y = train
    return DataSet(name, x[5000:], y[5000:], x[:5000], y[:5000], *test)


def _fashion_mnist():
    import keras

    return keras.datasets.fashion_mnist.load_data()


def _mnist():
    """MNIST from the files of its authors, where they are, or from Keras."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    folder = home / "datasets" / "mnist"
    files = [
        folder / f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    if not all(file.exists() for file in files):
        import keras

        return keras.datasets.mnist.load_data()
    arrays = [_read_idx(file) for file in files]
    return arrays[:2], arrays[2:]


def _read_idx(path):
    """An array of bytes in the IDX format: two zeros, the type 8, the rank, the sizes, the data."""
    with gzip.open(path) as file:
        data = file.read()
    # The sizes are four bytes each, the most significant one first.
    start = 4 + 4 * (data[3] if data[:3] == b"\x00\x00\x08" and len(data) > 3 else 0)
    shape = np.frombuffer(data[4:start], ">u4").astype("int64")
    if not len(shape) or len(data) != start + shape.prod():
        raise ValueError(f"'{path}' does not hold bytes in the IDX format.")
    return np.frombuffer(data, "uint8", offset=start).reshape(shape).copy()


def _from_scikit_learn(name):
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"The data set '{name}' is part of scikit-learn: "
            'pip install "keras_deeptricks[data]".'
        ) from error
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = x.astype("float32")
    return (x.reshape(-1, 8, 8) if name == "digits" else x), y
