"""The data of a search: what each trial trains on, is judged by, and what tests the result."""

import zlib

import keras
import numpy as np

from keras_deeptricks.assembly.training_data import drawn_rows, prepare
from keras_deeptricks.utils.batches import is_arrays

_NO_VALIDATION = "`validation_data` is missing: rows can be split off from arrays only."


class GivenData:
    """Data for a hypermodel of the caller's own: as given, but for the validation rows.

    Args:
        x, y, sample_weight, validation_data, test_data: As in
            `keras_deeptricks.tuners.search`.
        split: Share of the rows to validate on.
        seed: Whole number that fixes those rows.

    Attributes:
        fit_arguments: Dictionary of the training data, by the names of `fit`.
        validation: What the trials are judged by.
        targets: The task and its classes, or None.
    """

    targets = None

    def __init__(self, x, y, sample_weight, validation_data, split, test_data, seed):
        y = _array_of_list(y)
        if validation_data is None:
            if y is None or not is_arrays(x):
                raise ValueError(_NO_VALIDATION)
            x, y, sample_weight, validation_data = _split(x, y, sample_weight, split, seed)
        self.validation = validation_data
        self.fit_arguments = _without_none(x=x, y=y, sample_weight=sample_weight)
        self._test = _evaluation(test_data)

    @property
    def is_dataset(self):
        """Whether the data comes in batches of its own."""
        return "y" not in self.fit_arguments

    def encode_class_weight(self, class_weight):
        """The weights of the classes as `fit` takes them."""
        return class_weight

    def shared_by(self, devices):
        """Leaves off the last rows that devices cannot share evenly; data sets stay as they are.

        Args:
            devices: The `keras_deeptricks.utils.data_parallel.Devices`.
        """
        if not self.is_dataset:
            self.fit_arguments = _whole(self.fit_arguments, devices)
        if isinstance(self.validation, (tuple, list)):
            self.validation = _whole(tuple(self.validation), devices)

    def joined(self):
        """Training and validation rows together, and what is then left to validate on.

        Returns:
            The pair of a dictionary as `fit_arguments` and None; where the data is not arrays,
            of `fit_arguments` and `validation`.
        """
        if self.is_dataset or not isinstance(self.validation, (tuple, list)):
            return dict(self.fit_arguments), self.validation
        x, y, *rest = self.validation
        arguments = dict(self.fit_arguments)
        weights, others = arguments.get("sample_weight"), rest[0] if rest else None
        if weights is not None or others is not None:
            weights = _ones(arguments["y"], others) if weights is None else weights
            others = _ones(y, weights) if others is None else others
            arguments["sample_weight"] = _rows_of_both(weights, others)
        arguments["x"] = _rows_of_both(arguments["x"], x)
        arguments["y"] = _rows_of_both(arguments["y"], y)
        return arguments, None

    def test(self, model):
        """Dictionary of a model's figures on the test rows; None where there are none."""
        if self._test is None:
            return None
        return model.evaluate(**self._test, verbose=0, return_dict=True)

    def fingerprints(self):
        """Short texts by which the same data is known again."""
        return {
            "training data": fingerprint(self.fit_arguments),
            "validation data": fingerprint(self.validation),
        }

    def test_fingerprint(self):
        """A short text by which the same test rows are known again, or None."""
        return None if self._test is None else fingerprint(self._test)


class RecipeData(GivenData):
    """Data for a recipe: checked, its targets encoded.

    Args:
        task, outputs: As in `keras_deeptricks.recipes.train_default`.
    """

    def __init__(self, x, y, sample_weight, validation_data, split, test_data, seed, task, outputs):
        data = prepare(
            x,
            y,
            sample_weight=sample_weight,
            validation_data=validation_data,
            validation_split=split,
            task=task,
            outputs=outputs,
            seed=seed,
        )
        if data.validation is None:
            raise ValueError(_NO_VALIDATION)
        self.inputs, self.input_shape, self.targets = data.inputs, data.input_shape, data.targets
        self.validation = data.validation
        self.fit_arguments = _without_none(x=data.x, y=data.y, sample_weight=data.sample_weight)
        self.regression_targets = data.all_targets if data.targets.task == "regression" else None
        self._test = _evaluation(test_data)
        if self._test is not None and "y" in self._test:
            self._test["y"] = data.targets.encode(self._test["y"], "test_data[1]")

    def encode_class_weight(self, class_weight):
        return self.targets.encode_class_weight(class_weight)


def fingerprint(data):
    """A short text by which the same arrays are known again.

    Of data sets only the kind and the length, if it is known, are told.

    Example:

    ```python
    import numpy as np
    from keras_deeptricks.tuners.search_data import fingerprint

    assert fingerprint(np.zeros(3)) == fingerprint(np.zeros(3)) != fingerprint(np.ones(3))
    ```
    """
    return ", ".join(map(_leaf_fingerprint, keras.tree.flatten(data)))


def _leaf_fingerprint(leaf):
    if leaf is None or not is_arrays(leaf):
        length = len(leaf) if hasattr(leaf, "__len__") else "?"
        return f"{type(leaf).__name__} {length}"
    if keras.ops.is_tensor(leaf):
        leaf = keras.ops.convert_to_numpy(leaf)
    array = np.ascontiguousarray(leaf)
    raw = array.tobytes()
    if array.dtype.kind == "O":
        raw = repr(array.tolist()).encode()
    return f"{array.dtype} {array.shape} {zlib.crc32(raw):08x}"


def _whole(arrays, devices):
    return keras.tree.map_structure(
        lambda array: None if array is None else devices.whole(np.asarray(array)), arrays
    )


def _without_none(**arguments):
    return {name: value for name, value in arguments.items() if value is not None}


def _evaluation(test_data):
    """The test data as arguments of `evaluate`."""
    if test_data is None:
        return None
    if not isinstance(test_data, (tuple, list)):
        return {"x": test_data}
    if len(test_data) not in (2, 3):
        raise ValueError(
            "`test_data` must be (x, y), (x, y, sample_weight) or a data set. Received "
            f"{len(test_data)} values."
        )
    x, y, *weights = test_data
    return _without_none(x=x, y=_array_of_list(y), sample_weight=weights[0] if weights else None)


def _array_of_list(y):
    """Numbers or labels in a list are an array; other lists are structures of several targets."""
    if isinstance(y, (list, tuple)) and not any(getattr(part, "ndim", 0) for part in y):
        return np.asarray(y)
    return y


def _split(x, y, sample_weight, share, seed):
    """Rows drawn at random to validate on, of arrays in any structure."""
    kept, held = drawn_rows(len(keras.tree.flatten(x)[0]), share, seed)

    def take(part, rows):
        return keras.tree.map_structure(lambda leaf: np.asarray(leaf)[rows], part)

    weights = (None, None)
    if sample_weight is not None:
        weights = take(sample_weight, kept), take(sample_weight, held)
    validation = (take(x, held), take(y, held))
    if weights[1] is not None:
        validation = (*validation, weights[1])
    return take(x, kept), take(y, kept), weights[0], validation


def _ones(y, like):
    """Weights of 1 for the rows of `y`, in the structure of other weights."""
    rows = len(keras.tree.flatten(y)[0])
    return keras.tree.map_structure(lambda leaf: np.ones(rows, "float32"), like)


def _rows_of_both(first, second):
    return keras.tree.map_structure(
        lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), first, second
    )
