"""The loss landscape: each point is what `evaluate` says; the model stays itself."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, Subclassed, assert_identical, class_data, dense_model, whole_state

from keras_deeptricks.diagnostics import LossLandscape, loss_landscape
from keras_deeptricks.diagnostics.landscape_directions import moved_weights, random_direction
from keras_deeptricks.diagnostics.trajectory_plane import trajectory_plane

X, Y = class_data(rows=90, features=4)
# Sums of float32 in another order; the losses are about 1.
ROUNDING = {"rtol": 2e-5, "atol": 1e-6}


def small(units=5):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(units, "relu"), layers.Dense(3, "softmax")]
    )


def compiled(model=None, loss="sparse_categorical_crossentropy", **options):
    model = small() if model is None else model
    model.compile("adam", loss, **options)
    return model


def directions_of(model, count=2, seed=0, normalization="filter"):
    """What `loss_landscape` draws, as lists of arrays for all weights."""
    moved, values = moved_weights(model), model.get_weights()
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        kernels, axes = [values[w.place] for w in moved], [w.axes for w in moved]
        steps = random_direction(kernels, axes, generator, normalization)
        whole = [np.zeros(value.shape) for value in values]
        for weight, step in zip(moved, steps, strict=True):
            whole[weight.place] = step
        found.append(whole)
    return found


def assert_equals_evaluation(landscape, model, directions, *data, **options):
    """Compares the corners, a point inside and the center with `set_weights` and `evaluate`."""
    values = model.get_weights()
    tolerance = options.pop("tolerance", ROUNDING)
    last = len(landscape.grid_x) - 1
    losses = np.atleast_2d(landscape.losses)
    grid_y = [0.0] if landscape.grid_y is None else landscape.grid_y
    far = len(grid_y) - 1
    for i, j in {(0, 0), (far, 0), (0, last), (far, last), (far // 3, 1)}:
        point = (landscape.grid_x[j], grid_y[i])
        moved = [
            (value.astype("float64") + np.tensordot(point[: len(steps)], steps, 1)).astype(
                value.dtype
            )
            for value, *steps in zip(values, *directions, strict=True)
        ]
        model.set_weights(moved)
        expected = model.evaluate(*data, verbose=0, return_dict=True, **options)["loss"]
        np.testing.assert_allclose(losses[i, j], expected, **tolerance)
    model.set_weights(values)
    expected = model.evaluate(*data, verbose=0, return_dict=True, **options)["loss"]
    np.testing.assert_allclose(landscape.center_loss, expected, **tolerance)
    assert np.unique(losses).size > losses.size // 2  # the directions do move the weights


# Directions


def test_filter_normalization_by_hand():
    weight = np.array([[3.0, 0.0], [4.0, 0.0]])
    generator = np.random.default_rng(5)
    raw = np.random.default_rng(5).standard_normal((2, 2))
    (direction,) = random_direction([weight], [(0,)], generator)
    np.testing.assert_allclose(direction[:, 0], raw[:, 0] * 5 / np.hypot(*raw[:, 0]), rtol=1e-14)
    np.testing.assert_array_equal(direction[:, 1], 0)  # a filter of zeros stays
    (direction,) = random_direction([weight], [(0,)], np.random.default_rng(5), "layer")
    np.testing.assert_allclose(direction, raw * 5 / np.linalg.norm(raw), rtol=1e-14)
    (direction,) = random_direction([weight], [(0,)], np.random.default_rng(5), None)
    np.testing.assert_array_equal(direction, raw)


def test_filters_of_each_kind_of_layer():
    image, sequence = (None, 8, 8, 3), (None, 5, 6)
    several = [
        (layers.Conv2D(4, 3, name="conv"), image),
        (layers.LayerNormalization(axis=[1, 2, 3], name="norm"), image),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), image),
        (layers.PReLU(name="prelu"), image),
        (layers.SeparableConv2D(6, 2, name="separable"), image),
        (layers.Conv2DTranspose(2, 2, name="transpose"), image),
        (layers.Embedding(7, 6, name="words"), (None, 5)),
        (layers.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de", name="einsum"), sequence),
        (layers.Bidirectional(layers.GRU(2, name="gru"), name="both"), sequence),
        (layers.Dense(3, name="frozen", trainable=False), sequence),
        (layers.Dense(2, name="head"), sequence),
    ]
    for layer, shape in several:
        layer.build(shape)
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    attention.build(sequence, sequence)
    model = Subclassed([*(layer for layer, _ in several), attention])
    moved = moved_weights(model)
    found = [(model.weights[w.place].path, w.axes) for w in moved]
    expected = {
        ("conv/kernel", (0, 1, 2)),
        ("depthwise/kernel", (0, 1)),
        ("separable/depthwise_kernel", (0, 1)),
        ("separable/pointwise_kernel", (0, 1, 2)),
        ("transpose/kernel", (0, 1, 3)),
        ("words/embeddings", (1,)),
        ("attention/query/kernel", (0,)),
        ("attention/key/kernel", (0,)),
        ("attention/value/kernel", (0,)),
        ("attention/attention_output/kernel", (0, 1)),
        ("einsum/kernel", (0,)),
        ("both/forward_gru/gru_cell/kernel", (0,)),
        ("both/forward_gru/gru_cell/recurrent_kernel", (0,)),
        ("both/backward_gru/gru_cell/kernel", (0,)),
        ("both/backward_gru/gru_cell/recurrent_kernel", (0,)),
        ("head/kernel", (0,)),
    }
    assert set(found) == expected
    assert [w.place for w in moved] == sorted(w.place for w in moved)


def test_each_filter_keeps_its_length():
    model = compiled(
        keras.Sequential(
            [keras.Input((6, 6, 1)), layers.Conv2D(3, 2), layers.Flatten(), layers.Dense(2)]
        )
    )
    (direction,) = directions_of(model, count=1)
    conv, conv_bias, dense, dense_bias = zip(model.get_weights(), direction, strict=True)
    for (weight, step), axes in ((conv, (0, 1, 2)), (dense, (0,))):
        # The weights are float32.
        np.testing.assert_allclose(*(np.sum(a**2, axes) for a in (step, weight)), rtol=1e-6)
    assert not conv_bias[1].any()
    assert not dense_bias[1].any()


# Losses


@pytest.mark.parametrize("kind, directions", [("sequential", 1), ("subclassed", 2)])
def test_equals_evaluation(kind, directions):
    model = dense_model(outputs=3, kind=kind)  # with batch norm and dropout
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, epochs=1, verbose=0)
    options = {"directions": directions, "points": (5, 4)[:directions], "seed": 3}
    landscape = loss_landscape(model, X, Y, batch_size=40, **options)
    assert landscape.losses.shape == ((4, 5) if directions == 2 else (5,))
    assert landscape.rows == 90
    steps = directions_of(model, directions, seed=3)
    assert_equals_evaluation(landscape, model, steps, X, Y, batch_size=40)


def test_penalties_of_weights_and_activities_count():
    regular = {
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "activity_regularizer": keras.regularizers.L1(0.01),
    }
    model = compiled(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(5, "relu", **regular),
                layers.Dense(5, "tanh", **regular),
                layers.Dense(3, "softmax", bias_regularizer="l2"),
            ]
        )
    )
    # A sum over the batch: the batches must be the same.
    landscape = loss_landscape(model, X, Y, points=4, span=0.7, batch_size=32)
    steps = directions_of(model)
    assert_equals_evaluation(landscape, model, steps, X, Y, batch_size=32)
    plain = loss_landscape(compiled(small()), X, Y, points=2, directions=1, normalization=None)
    assert plain.normalization is None


def several_outputs():
    inputs = keras.Input((4,), name="features")
    h = layers.Dense(6, "relu")(inputs)
    outputs = {
        "kind": layers.Dense(3, "softmax", name="kind")(h),
        "size": layers.Dense(1, name="size")(h),
    }
    model = keras.Model(inputs, outputs)
    losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    model.compile("sgd", losses, loss_weights={"kind": 1.0, "size": 0.3})
    return model, {"kind": Y, "size": X.sum(axis=1, keepdims=True)}


def test_several_outputs_with_sample_weights():
    model, targets = several_outputs()
    weights = {"kind": np.linspace(0, 2, 90), "size": np.linspace(1, 0, 90)}
    weights = {name: values.astype("float32") for name, values in weights.items()}
    landscape = loss_landscape(model, X, targets, points=3, sample_weight=weights)
    options = {"sample_weight": weights, "batch_size": 256}
    assert_equals_evaluation(landscape, model, directions_of(model), X, targets, **options)


def test_several_inputs_and_a_loss_of_the_models_own():
    class Own(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            assert training is False
            return ops.mean(ops.square(y_pred - x[1][:, :1])) + 0.5 * sum(self.losses)

    first, second = keras.Input((4,)), keras.Input((2,))
    h = layers.Dense(4, "relu", kernel_regularizer="l2")(layers.Concatenate()([first, second]))
    model = Own([first, second], layers.Dense(1)(h))
    model.compile("sgd")
    x = [X, X[:, :2]]
    landscape = loss_landscape(model, x, points=3)
    assert_equals_evaluation(landscape, model, directions_of(model), x, batch_size=256)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = compiled()
    keras.config.set_dtype_policy("float32")
    landscape = loss_landscape(model, X, Y, points=3)
    # A prediction has 11 bits, or 8 in bfloat16; 90 of them are averaged.
    tolerance = {"rtol": 2e-2 if policy == "mixed_bfloat16" else 5e-3}
    options = {"batch_size": 256, "tolerance": tolerance}
    assert_equals_evaluation(landscape, model, directions_of(model), X, Y, **options)


def test_a_rescaled_network_has_the_same_landscape():
    model = compiled(small())
    weights = model.get_weights()
    weights[1] = np.linspace(-1, 1, 5).astype("float32")
    model.set_weights(weights)
    first = loss_landscape(model, X, Y, directions=1, points=9)
    # ReLU(8·a) = 8·ReLU(a). Factors of 2 change no rounding.
    weights = [weights[0] * 8, weights[1] * 8, weights[2] / 8, weights[3]]
    model.set_weights(weights)
    again = loss_landscape(model, X, Y, directions=1, points=9)
    np.testing.assert_allclose(again.losses, first.losses, rtol=1e-6)
    raw = loss_landscape(model, X, Y, directions=1, points=9, normalization=None)
    assert np.abs(raw.losses - first.losses).max() > 0.1  # without it, it would not


def test_a_loss_that_is_not_finite_is_kept():
    model = compiled(small(), loss="mse")
    landscape = loss_landscape(model, X, np.ones((90, 3)), directions=1, points=3, span=1e30)
    assert not np.isfinite(landscape.losses[[0, 2]]).any()
    assert np.isfinite(landscape.center_loss)
    assert "not finite at 2 points" in str(landscape)


# Data


class Batches(keras.utils.PyDataset):
    """Batches of 32 rows, in order; at one of them it fails."""

    def __init__(self, error_at=None):
        super().__init__()
        self.error_at = error_at

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == self.error_at:
            raise KeyboardInterrupt
        rows = slice(32 * index, 32 * (index + 1))
        return X[rows], Y[rows]


def data_sets():
    yield Batches()
    yield (Batches()[index] for index in range(3))
    if importlib.util.find_spec("torch"):
        import torch

        tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
        yield torch.utils.data.DataLoader(tensors, batch_size=32)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        yield tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)


def test_data_sets():
    model = compiled()
    options = {"directions": 1, "points": 3}
    expected = loss_landscape(model, X, Y, batch_size=32, **options)
    for data in data_sets():
        found = loss_landscape(model, data, **options)
        assert found.rows == 90
        # The compiled function and its batches are the same.
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6)


def test_rows_limit_the_data():
    model = compiled()
    options = {"directions": 1, "points": 3}
    expected = loss_landscape(model, X[:40], Y[:40], **options)
    endless = (Batches()[index % 2] for index in range(10**9))
    for x, y in ((X, Y), (Batches(), None), (endless, None)):
        found = loss_landscape(model, x, y, rows=40, **options)
        assert found.rows == 40
        np.testing.assert_allclose(found.losses, expected.losses, **ROUNDING)


# The model


def test_the_model_is_as_before():
    model = dense_model(outputs=3)
    model.compile("adam", "mse", metrics=["mae"])
    targets = np.eye(3, dtype="float32")[Y]
    path = [model.get_weights()]
    for _ in range(3):
        model.fit(X, targets, epochs=1, verbose=0)
        path.append(model.get_weights())
    history, functions = model.history, (model.train_function, model.test_function)
    before, flags = whole_state(model), [layer.trainable for layer in model.layers]
    loss_landscape(model, X, targets, points=3)
    loss_landscape(model, X, targets, points=3, trajectory=path[::-1])
    assert_identical(before, whole_state(model))
    assert model.history is history
    assert (model.train_function, model.test_function) == functions
    assert [layer.trainable for layer in model.layers] == flags
    model.fit(X, targets, epochs=1, verbose=0)  # it still trains
    assert np.any(before[0] != whole_state(model)[0])


def test_an_interruption_leaves_the_model_as_before():
    model = compiled(metrics=["accuracy"])
    path = [model.get_weights()]
    for _ in range(2):
        model.fit(X, Y, epochs=1, verbose=0)
        path.append(model.get_weights())
    before = whole_state(model)
    with pytest.raises(KeyboardInterrupt):
        loss_landscape(model, Batches(error_at=1), trajectory=path[::-1])
    assert_identical(before, whole_state(model))


def test_between_two_epochs():
    weights, finals = [], []
    for looks in (False, True):
        model = dense_model(outputs=3)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        losses = []

        def look(epoch, logs, model=model, losses=losses):
            weights.append(model.get_weights())
            losses.append(loss_landscape(model, X, Y, directions=1, points=2).center_loss)

        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=look)] if looks else []
        keras.utils.set_random_seed(1)
        model.fit(X, Y, epochs=2, verbose=0, callbacks=callbacks)
        finals.append(model.get_weights())
    assert_identical(*finals)  # looking changes neither the dropout nor the order of the rows
    model.set_weights(weights[0])
    np.testing.assert_allclose(losses[0], model.evaluate(X, Y, verbose=0), **ROUNDING)


def test_a_seed_gives_the_same_landscape():
    model = compiled()
    first, again, other = (loss_landscape(model, X, Y, points=2, seed=seed) for seed in (0, 0, 5))
    np.testing.assert_array_equal(first.losses, again.losses)
    assert np.all(first.losses != other.losses)


# Trajectories


def test_plane_of_a_path_by_hand():
    # Along (3, 4)/5 much, across it little.
    along, across = np.array([3.0, 4.0]) / 5, np.array([-4.0, 3.0]) / 5
    places = np.array([[10.0, 0], [7, 1], [4, -1], [0, 0]])
    path = [[a * along + b * across, np.array([[7.0]])] for a, b in places]
    directions, coordinates, shares = trajectory_plane(path, 2)
    axes = np.stack([direction[0] for direction in directions])
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(directions[0][1], [[0.0]])  # never moved
    np.testing.assert_allclose(shares.sum(), 1)
    assert shares[0] > 0.9
    offsets = np.stack([point[0] for point in path])
    np.testing.assert_allclose(coordinates, (offsets - offsets[-1]) @ axes.T, atol=1e-12)
    assert np.all(coordinates[0] >= 0)


def test_plane_against_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(1)
    # A path with a drift, in float32 as weights are.
    points = np.cumsum(rng.normal(size=(6, 40)) + np.linspace(0, 2, 40), axis=0).astype("float32")
    points = points.astype("float64")
    path = [[point[:30].reshape(5, 6), point[30:].reshape(2, 5)] for point in points]
    directions, coordinates, shares = trajectory_plane(path, 2)
    pca = decomposition.PCA(2).fit(points - points[-1])
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, rtol=1e-10)
    flat = [np.concatenate([part.ravel() for part in each]) for each in directions]
    for found, expected, at in zip(flat, pca.components_, coordinates.T, strict=True):
        sign = np.sign(found @ expected)
        np.testing.assert_allclose(found * sign, expected, atol=1e-8)
        np.testing.assert_allclose(at, (points - points[-1]) @ found, atol=1e-8)


def trained_path(model, epochs=5):
    path = [model.get_weights()]
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: path.append(model.get_weights())
    )
    model.fit(X, Y, epochs=epochs, batch_size=16, verbose=0, callbacks=[record])
    return path


def test_landscape_around_a_path(tmp_path):
    model = dense_model(outputs=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss)
    path = trained_path(model)
    landscape = loss_landscape(model, X, Y, points=(5, 4), trajectory=path)
    assert landscape.path.shape == (6, 2)
    np.testing.assert_array_equal(landscape.path[-1], 0)
    assert 0.5 < landscape.shares.sum() <= 1
    # The whole path is inside.
    for axis, grid in enumerate((landscape.grid_x, landscape.grid_y)):
        assert grid[0] < landscape.path[:, axis].min() < landscape.path[:, axis].max() < grid[-1]
    places = [weight.place for weight in moved_weights(model)]
    found, _, _ = trajectory_plane([[point[p] for p in places] for point in path], 2)
    steps = [[np.zeros(value.shape) for value in path[0]] for _ in range(2)]
    for whole, parts in zip(steps, found, strict=True):
        for place, part in zip(places, parts, strict=True):
            whole[place] = part
    assert_equals_evaluation(landscape, model, steps, X, Y, batch_size=256)
    assert len(places) == 2  # without biases and batch norm
    # The same from files, and from another state of the model.
    files = []
    for number, weights in enumerate(path):
        model.set_weights(weights)
        files.append(tmp_path / f"{number}.weights.h5")
        model.save_weights(files[-1])
    model.set_weights(path[0])
    before = whole_state(model)
    again = loss_landscape(model, X, Y, points=(5, 4), trajectory=files)
    assert_identical(before, whole_state(model))
    np.testing.assert_array_equal(again.losses, landscape.losses)
    assert "path of 6 checkpoints" in str(again)


def test_a_path_along_one_component():
    model = compiled(small())
    path = trained_path(model, epochs=3)
    landscape = loss_landscape(model, X, Y, directions=1, points=3, span=2.0, trajectory=path)
    np.testing.assert_allclose(landscape.grid_x, [-2, 0, 2])
    assert landscape.path.shape == (4, 1)
    assert landscape.normalization == "unit"
    np.testing.assert_allclose(landscape.losses[1], landscape.center_loss)


# Results and errors


def test_file(tmp_path):
    landscape = LossLandscape(
        grid_x=np.linspace(-1, 1, 3),
        grid_y=np.linspace(-2, 2, 2),
        losses=np.array([[1.0, 0.5, np.inf], [2.0, np.nan, 3.0]]),
        center_loss=0.25,
        rows=10,
        normalization="filter",
    )
    assert str(landscape) == (
        "loss 0.25 at the center; 0.5 to 3, not finite at 2 points at 6 points of "
        "[-1, 1] × [-2, 2]; 10 rows"
    )
    for name in ("landscape.json", "landscape.npz"):
        landscape.save(tmp_path / name)
        again = LossLandscape.load(tmp_path / name)
        np.testing.assert_array_equal(again.losses, landscape.losses)
        assert again.path is None
        assert again.normalization == "filter"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"directions": 3}, "`directions`"),
        ({"directions": 0}, "`directions`"),
        ({"span": 0}, "`span`"),
        ({"span": -1.0}, "`span`"),
        ({"span": (1.0, 2.0, 3.0)}, "`span` must be one number, or one for each of the 2"),
        ({"points": 1}, "`points`"),
        ({"points": (3, 1)}, "`points`"),
        ({"normalization": "weights"}, "`normalization`"),
        ({"rows": 0}, "`rows`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"seed": -1}, "`seed`"),
        ({"x": X[:0], "y": Y[:0]}, "`x` is empty"),
        ({"y": Y[:5]}, "same number of rows"),
        ({"x": Batches()}, "`y` must be left out"),
        ({"x": Batches(), "y": None, "batch_size": 8}, "`batch_size` must be left out"),
        ({"trajectory": []}, "`trajectory`"),
    ],
)
def test_arguments_out_of_range(change, message):
    options = {"x": X, "y": Y, "points": 2, **change}
    with pytest.raises(ValueError, match=message):
        loss_landscape(compiled(), **options)


def test_wrong_trajectories(tmp_path):
    model = compiled()
    weights = model.get_weights()
    other = [weight + 1 for weight in weights]
    with pytest.raises(TypeError, match="`trajectory` must be a list"):
        loss_landscape(model, X, Y, trajectory="path.weights.h5")
    with pytest.raises(TypeError, match=r"`trajectory\[1\]` must be a list of arrays"):
        loss_landscape(model, X, Y, trajectory=[weights, 3, weights])
    with pytest.raises(ValueError, match=r"trajectory\[1\]` must have the 4 arrays"):
        loss_landscape(model, X, Y, trajectory=[weights, weights[:2], weights])
    wrong = [weights[0].T, *weights[1:]]
    with pytest.raises(ValueError, match=r"trajectory\[1\]`.*'sequential.*kernel'.*\(4, 5\)"):
        loss_landscape(model, X, Y, trajectory=[weights, wrong, weights])
    with pytest.raises(ValueError, match=r"3 checkpoints that span 1\..*directions=1"):
        loss_landscape(model, X, Y, trajectory=[weights, other, weights])
    with pytest.raises(ValueError, match="span 0"):
        loss_landscape(model, X, Y, trajectory=[weights, weights])
    broken = [weights[0] * np.nan, *weights[1:]]
    with pytest.raises(ValueError, match=r"trajectory\[0\]` must be finite"):
        loss_landscape(model, X, Y, trajectory=[broken, other, weights])
    assert_identical(weights, model.get_weights())


def test_wrong_models():
    with pytest.raises(TypeError, match="`model` must be a keras"):
        loss_landscape(None, X, Y)
    with pytest.raises(ValueError, match="must be built"):
        loss_landscape(keras.Sequential([layers.Dense(2)]), X, Y)
    with pytest.raises(ValueError, match="must be compiled"):
        loss_landscape(small(), X, Y)
    model = compiled()
    weights = model.get_weights()
    model.set_weights([weights[0] * np.inf, *weights[1:]])
    with pytest.raises(ValueError, match=r"`model` must be finite.*kernel"):
        loss_landscape(model, X, Y)
    frozen = small()
    frozen.trainable = False
    with pytest.raises(ValueError, match="has none"):
        loss_landscape(compiled(frozen), X, Y)

    class OwnStep(keras.Model):
        def test_step(self, *args, **kwargs):
            return super().test_step(*args, **kwargs)

    plain = small()
    with pytest.raises(ValueError, match="own"):
        loss_landscape(compiled(OwnStep(plain.inputs, plain.outputs[0])), X, Y)
