"""A look at the training data before `fit` sees it."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import assert_identical, dense_model, values

from keras_deeptricks.utils.batches import (
    ensure_built,
    first_inputs,
    is_arrays,
    row_count,
    take_rows,
)

ROWS = np.arange(6.0).reshape(3, 2)


class Pairs(keras.utils.PyDataset):
    """Two batches of inputs and targets."""

    def __init__(self):
        super().__init__()

    @property
    def num_batches(self):
        return 2

    def __getitem__(self, index):
        return ROWS + index, np.zeros(3)


@pytest.mark.parametrize(
    "x, expected",
    [
        (ROWS, True),
        ([ROWS, ROWS], True),
        ({"a": ROWS, "b": ROWS}, True),
        ([], False),
        (iter([ROWS]), False),
        (Pairs(), False),
    ],
)
def test_what_counts_as_arrays(x, expected):
    assert is_arrays(x) is expected


def test_rows_of_arrays():
    assert row_count({"a": ROWS, "b": ROWS}) == 3
    taken = take_rows({"a": ROWS, "b": keras.ops.convert_to_tensor(ROWS)}, np.array([2, 0]))
    np.testing.assert_array_equal(taken["a"], [[4, 5], [0, 1]])
    np.testing.assert_array_equal(taken["b"], [[4, 5], [0, 1]])
    assert take_rows(None, [0]) is None


def test_the_first_inputs_of_each_kind_of_data():
    np.testing.assert_array_equal(first_inputs(ROWS), ROWS[:2])
    np.testing.assert_array_equal(first_inputs({"a": ROWS})["a"], ROWS[:2])
    np.testing.assert_array_equal(first_inputs(Pairs()), ROWS)
    two_inputs = first_inputs([ROWS, ROWS + 1])
    np.testing.assert_array_equal(two_inputs[1], ROWS[:2] + 1)


class Again:
    """Can be iterated over as often as one likes, as a torch `DataLoader` can."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_the_first_batch_of_an_iterable():
    np.testing.assert_array_equal(first_inputs(Again([(ROWS, 1), (ROWS + 1, 1)])), ROWS)
    np.testing.assert_array_equal(first_inputs(Again([{"a": ROWS}]))["a"], ROWS)


def test_a_generator_is_not_eaten_into():
    generator = iter([(ROWS, 1)])
    with pytest.raises(ValueError, match="`x` is a generator"):
        first_inputs(generator)
    assert next(generator)[1] == 1


def test_data_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="`x` is empty"):
        first_inputs(Again([]))


def test_a_built_model_is_not_touched():
    model = dense_model()
    before = values(model.variables)
    ensure_built(model, "no data at all")
    assert_identical(before, values(model.variables))


def test_an_unbuilt_model_gets_its_weights_and_keeps_its_seeds():
    model = dense_model(kind="subclassed")
    seeds = values(model.variables)
    assert seeds  # dropout has its seed from the start
    ensure_built(model, np.ones((5, 4), "float32"))
    assert model.built
    names = [variable.name for variable in model.variables]
    kept = [
        variable for variable, name in zip(model.variables, names, strict=True) if "seed" in name
    ]
    assert_identical(seeds, values(kept))
    moving = [v for v in model.variables if v.name == "moving_mean"]
    # Built in inference: batch statistics have not moved.
    assert all((value == 0).all() for value in values(moving))


def test_several_inputs_build_a_model():
    class Sum(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs):  # takes no `training`
            return self.dense(inputs["a"]) + self.dense(inputs["b"])

    model = Sum()
    ensure_built(model, {"a": ROWS.astype("float32"), "b": ROWS.astype("float32")})
    assert model.dense.kernel.shape == (2, 1)
