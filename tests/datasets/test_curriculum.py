"""Easy rows first: which rows an epoch draws from, in `fit` too."""

import keras
import numpy as np
import pytest
from small_models import dense_model, regression_data

import keras_deeptricks as kdt

ROWS = 40
DIFFICULTY = np.random.default_rng(0).permutation(ROWS)


def curriculum(**options):
    x = np.arange(ROWS, dtype="float32").reshape(-1, 1)
    given = {"batch_size": 8, "initial_share": 0.25, "full_epoch": 3, **options}
    return kdt.datasets.Curriculum(x, 10 * x, DIFFICULTY, **given)


def rows_of(data):
    return np.concatenate([data[i][0].ravel() for i in range(len(data))]).astype(int)


@pytest.mark.parametrize("epoch, pool", [(0, 10), (1, 20), (2, 30), (3, 40), (9, 40)])
def test_an_epoch_draws_from_the_easiest_rows(epoch, pool):
    data = curriculum()
    data.begin_epoch(epoch)
    rows = rows_of(data)
    assert len(rows) == ROWS  # every epoch is equally long
    assert set(rows) == {row for row in range(ROWS) if DIFFICULTY[row] < pool}
    counts = np.bincount(rows, minlength=ROWS)[sorted(set(rows))]
    assert counts.max() - counts.min() <= 1


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = curriculum(seed=1), curriculum(seed=1), curriculum(seed=2)
    for data in (first, again, other):
        data.begin_epoch(2)
    first.begin_epoch(4)
    first.begin_epoch(2)
    assert np.array_equal(rows_of(first), rows_of(again))
    assert not np.array_equal(rows_of(first), rows_of(other))


def test_targets_and_weights_go_with_their_rows():
    weights = np.arange(ROWS) / ROWS
    x, y, weight = curriculum(sample_weight=weights)[0]
    assert np.array_equal(y, 10 * x)
    np.testing.assert_allclose(weight, x.ravel() / ROWS)


def test_fit_sees_the_rows_of_each_epoch():
    seen = []

    class Watch(keras.callbacks.Callback):
        """The largest input of an epoch is what the constant weight of the model learns of it."""

        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["loss"])

    # The loss is the mean input, as the model passes its input on and the target is 0.
    x = DIFFICULTY.astype("float32").reshape(-1, 1)
    data = kdt.datasets.Curriculum(
        x, 0 * x, DIFFICULTY, batch_size=8, initial_share=0.25, full_epoch=3
    )
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)]
    )
    model.compile(keras.optimizers.SGD(0.0), "mae")
    callbacks = [data.epoch_counter, Watch()]
    model.fit(data, epochs=5, callbacks=callbacks, verbose=0)
    # Means of 0…9, 0…19, 0…29 (whose rows come 1 1/3 times) and 0…39.
    np.testing.assert_allclose([seen[0], seen[1], seen[3], seen[4]], [4.5, 9.5, 19.5, 19.5])
    assert 12 < seen[2] < 17
    seen.clear()
    model.fit(data, epochs=2, initial_epoch=1, callbacks=callbacks, verbose=0)
    np.testing.assert_allclose(seen, [9.5])


def test_loss_by_row_by_hand():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)]
    )
    x = np.array([[1.0], [2.0], [4.0]])
    for loss, expected in (("mse", [1.0, 0.0, 9.0]), (keras.losses.MeanAbsoluteError(), [1, 0, 3])):
        model.compile("sgd", loss)
        found = kdt.datasets.loss_by_row(model, x, np.array([2.0, 2.0, 1.0]))
        np.testing.assert_allclose(found, expected)
    classifier = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, "softmax")])
    classifier.compile("sgd", "sparse_categorical_crossentropy")
    found = kdt.datasets.loss_by_row(classifier, x, np.array([0, 1, 1]))
    probabilities = classifier.predict(x, verbose=0)[np.arange(3), [0, 1, 1]]
    np.testing.assert_allclose(found, -np.log(probabilities), rtol=1e-5)


def test_loss_by_row_needs_a_compiled_model():
    x, y = regression_data(rows=8)
    with pytest.raises(ValueError, match="compiled"):
        kdt.datasets.loss_by_row(dense_model(), x, y)


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"initial_share": 0}, ValueError, "initial_share"),
        ({"initial_share": 1.5}, ValueError, "initial_share"),
        ({"full_epoch": -1}, ValueError, "full_epoch"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight"),
    ],
)
def test_bad_arguments(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        curriculum(**options)


def test_bad_data():
    x = np.ones((4, 1))
    with pytest.raises(ValueError, match="`difficulty`"):
        kdt.datasets.Curriculum(x, x, [1, 2, 3])
    with pytest.raises(ValueError, match="`difficulty`"):
        kdt.datasets.Curriculum(x, x, [1, 2, 3, np.nan])
    with pytest.raises(ValueError, match="`y`"):
        kdt.datasets.Curriculum(x, x[:2], [1, 2, 3, 4])
    with pytest.raises(TypeError, match="`x`"):
        kdt.datasets.Curriculum(iter(x), x, [1, 2, 3, 4])
