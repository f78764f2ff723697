"""Real data sets, split into training, validation and test rows."""

import dataclasses

import numpy as np

from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

NAMES = ("digits", "fashion_mnist", "diabetes", "breast_cancer")


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
    | `fashion_mnist` | 70,000 | 28×28 image | 10 classes |
    | `diabetes` | 442 | 10 features | progression after a year, 25–346 |
    | `breast_cancer` | 569 | 30 features | malignant (0) or benign (1) |

    All but Fashion-MNIST, which Keras downloads once, are part of scikit-learn. Fashion-MNIST
    keeps its own test set, and its first 5,000 training images validate; `seed` and the shares
    do not act on it.

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
    if name == "fashion_mnist":
        return _fashion_mnist()
    x, y = _from_scikit_learn(name)
    order = np.random.default_rng(seed).permutation(len(x))
    tests = int(np.ceil(test_share * len(x)))
    validations = int(np.ceil(validation_share * (len(x) - tests)))
    test, validation, train = np.split(order, [tests, tests + validations])
    return DataSet(name, x[train], y[train], x[validation], y[validation], x[test], y[test])


def _fashion_mnist():
    import keras

    (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    return DataSet("fashion_mnist", x[5000:], y[5000:], x[:5000], y[:5000], x_test, y_test)


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
