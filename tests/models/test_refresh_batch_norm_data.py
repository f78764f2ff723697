"""Refreshing batch normalization: forms of data, failures, new domains and averaged weights."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND, assert_identical, values, whole_state

import keras_deeptricks as kdt

refresh_batch_norm = kdt.models.refresh_batch_norm
METHODS = ("layerwise", "batch_average")
X = np.random.default_rng(0).normal(2, 3, size=(40, 4)).astype("float32")


def model_of_two():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="relu"),
            layers.BatchNormalization(name="first"),
            layers.Dense(5, activation="relu"),
            layers.BatchNormalization(name="second"),
            layers.Dense(2),
        ]
    )


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return X[rows], np.zeros(len(X[rows]))


def generator():
    for first in range(0, 40, 16):
        yield (X[first : first + 16], None)


def endless():
    while True:
        yield from generator()


class Rereadable:
    """Any object that can be iterated over again and again, like a torch DataLoader."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return self.batches()


def tf_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, np.zeros(40))).batch(16)


def data_loader():
    import torch

    tensors = torch.from_numpy(X), torch.zeros(40)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=16)


FORMS = {
    "array": lambda: {"data": X, "batch_size": 16},
    "tensor": lambda: {"data": ops.convert_to_tensor(X), "batch_size": 16},
    "float64": lambda: {"data": X.astype("float64"), "batch_size": 16},
    "py_dataset": lambda: {"data": Batches()},
    "iterable": lambda: {"data": Rereadable(generator)},
    "endless with steps": lambda: {"data": Rereadable(endless), "steps": 3},
}
if BACKEND == "tensorflow":
    FORMS["tf.data"] = lambda: {"data": tf_dataset()}
    FORMS["endless tf.data"] = lambda: {"data": tf_dataset().repeat(), "steps": 3}
if BACKEND == "torch":
    FORMS["data loader"] = lambda: {"data": data_loader()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same(form, method):
    model = model_of_two()
    start = model.get_weights()
    refresh_batch_norm(model, X, method, batch_size=16)
    expected = model.get_weights()
    model.set_weights(start)
    assert refresh_batch_norm(model, method=method, **FORMS[form]()).rows == 40
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_generator_gives_a_single_pass():
    model = model_of_two()
    given = generator()
    with pytest.raises(ValueError, match=r"only once.*2 passes.*batch_average"):
        refresh_batch_norm(model, given)
    assert len(list(given)) == 3  # none was taken
    assert refresh_batch_norm(model, generator(), "batch_average").passes == 1
    assert refresh_batch_norm(model, generator(), layers="second").passes == 1


def test_several_inputs():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
    ends = [layers.BatchNormalization(name=f"norm_{k}")(x) for k, x in inputs.items()]
    model = keras.Model(inputs, layers.Concatenate()(ends))
    given = {"a": X, "b": 2 * X[:, :2] + 1}
    assert refresh_batch_norm(model, given).passes == 1
    for name, x in given.items():
        norm = model.get_layer(f"norm_{name}")
        np.testing.assert_allclose(values([norm.moving_mean])[0], x.mean(axis=0), rtol=1e-5)
    # Of a batch (inputs, targets) too.
    batches = [(given, np.zeros(40))]
    refresh_batch_norm(model, Rereadable(lambda: iter(batches)), layers="norm_b")


def test_steps_limit_what_is_read():
    model = model_of_two()
    assert refresh_batch_norm(model, X, batch_size=8, steps=2).rows == 16
    assert refresh_batch_norm(model, X, batch_size=8, steps=9).rows == 40


def test_batches_without_rows_are_passed_over():
    model = model_of_two()
    parts = [X[:20], X[20:20], X[20:]]
    assert refresh_batch_norm(model, Rereadable(lambda: iter(parts))).rows == 40


def failing(batches=1):
    """A data set that ends in an error."""

    def read():
        for _ in range(batches):
            yield X[:16]
        raise KeyboardInterrupt

    return Rereadable(read)


class FailsInTheSecondPass:
    passes = 0

    def __iter__(self):
        self.passes += 1
        yield X[:16]
        if self.passes > 1:
            raise RuntimeError("disk")


def shrinking():
    sizes = iter([16, 8])
    return Rereadable(lambda: iter([X[: next(sizes)]]))


NAN = np.where(np.arange(40)[:, None] == 37, np.nan, X)


@pytest.mark.parametrize(
    "data, error, told, options",
    [
        (lambda: NAN, ValueError, "`data` holds NaN or infinite", {}),
        (lambda: 1e30 * X, ValueError, "infinite values reach 'first'", {}),
        (lambda: NAN, ValueError, "NaN", {"method": "batch_average", "batch_size": 8}),
        (failing, KeyboardInterrupt, "", {}),
        (FailsInTheSecondPass, RuntimeError, "disk", {}),
        (shrinking, ValueError, "same rows", {}),
        (lambda: X[:1], ValueError, "single value from all the data", {}),
        (lambda: X, ValueError, "in every batch", {"method": "batch_average", "batch_size": 1}),
        (lambda: X[:0], ValueError, "empty", {}),
        (lambda: Rereadable(lambda: iter([])), ValueError, "empty", {}),
        (lambda: (X, X), ValueError, "2 arrays", {}),
        (lambda: X[:, :2], Exception, "", {}),
        (lambda: "text", TypeError, "`data` must be", {}),
        (lambda: X, ValueError, "`method`", {"method": "exact"}),
        (lambda: X, ValueError, "`batch_size`", {"batch_size": 0}),
        (lambda: X, TypeError, "`steps`", {"steps": "all"}),
        (Batches, ValueError, "`batch_size` goes with arrays only", {"batch_size": 8}),
        (lambda: X, ValueError, "`layers`", {"layers": "third"}),
    ],
)
def test_on_failure_everything_is_as_before(data, error, told, options):
    model = model_of_two()
    model.compile("adam", "mse")
    before = whole_state(model)
    with pytest.raises(error, match=told or None):
        refresh_batch_norm(model, data(), **options)
    assert_identical(whole_state(model), before)
    assert all("call" not in vars(layer) for layer in model.layers)
    assert np.isfinite(model.predict(X, verbose=0)).all()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data comes with TensorFlow")
def test_endless_data_needs_steps():
    with pytest.raises(ValueError, match="`data` has no end: pass `steps`"):
        refresh_batch_norm(model_of_two(), tf_dataset().repeat())


def test_models_that_cannot_be_refreshed():
    with pytest.raises(TypeError, match=r"`model` must be a keras\.Model"):
        refresh_batch_norm(layers.Dense(1), X)
    with pytest.raises(ValueError, match="`model` must be built"):
        refresh_batch_norm(keras.Sequential([layers.BatchNormalization()]), X)
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    with pytest.warns(UserWarning, match="no batch normalization"):
        report = refresh_batch_norm(plain, X)
    assert (report.layers, report.passes) == ([], 0)


class Cell(layers.Layer):
    """A recurrent cell with batch normalization."""

    state_size = 3

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm = layers.Dense(3), layers.BatchNormalization(name="within")

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((None, 3))

    def call(self, inputs, states):
        out = self.norm(self.dense(inputs)) + states[0]
        return out, [out]


def test_a_recurrent_cell_is_refused():
    model = keras.Sequential([keras.Input((5, 4)), layers.RNN(Cell())])
    before = model.get_weights()
    with pytest.raises(ValueError, match="'within' is inside the cell"):
        refresh_batch_norm(model, np.ones((8, 5, 4), "float32"))
    assert_identical(model.get_weights(), before)


def test_time_distributed_layers_count_every_step():
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.TimeDistributed(keras.Sequential([layers.BatchNormalization(name="each")])),
        ]
    )
    x = np.random.default_rng(0).normal(2, 3, size=(20, 3, 4)).astype("float32")
    refresh_batch_norm(model, x)
    norm = model.layers[0].layer.layers[0]
    expected = [x.mean(axis=(0, 1)), x.var(axis=(0, 1))]
    for ours, theirs in zip(
        values([norm.moving_mean, norm.moving_variance]), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


class SometimesNormalized(keras.Model):
    """Uses one of its two norms in training only."""

    def __init__(self):
        super().__init__()
        self.always, self.training_only = layers.BatchNormalization(), layers.BatchNormalization()
        self.training_only.build((None, 4))

    def call(self, inputs, training=False):
        return self.training_only(inputs) if training else self.always(inputs)


def test_layers_that_inference_does_not_use_are_told():
    for method in METHODS:
        model = SometimesNormalized()
        model(X)
        before = model.training_only.get_weights()
        # Not `pytest.warns`, which would pass on what the backends say besides.
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            report = refresh_batch_norm(model, X, method)
        assert any("does not use" in str(warning.message) for warning in told)
        assert report.layers == [model.always.name]
        assert_identical(model.training_only.get_weights(), before)


def test_progress_is_shown_on_demand(capsys):
    model = model_of_two()
    refresh_batch_norm(model, X)
    assert capsys.readouterr().out == ""
    refresh_batch_norm(model, X, verbose=1)
    assert "2/2" in capsys.readouterr().out


def test_the_model_is_saved_as_before(tmp_path):
    inner = model_of_two()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.BatchNormalization()(inner(inputs)))
    config = model.get_config()
    refresh_batch_norm(model, X)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_identical([loaded.predict(X, verbose=0)], [model.predict(X, verbose=0)])


def test_the_report_is_saved_and_loaded(tmp_path):
    report = refresh_batch_norm(model_of_two(), X)
    for name in ("report.json", "report.npz"):
        report.save(tmp_path / name)
        loaded = kdt.models.BatchNormRefresh.load(tmp_path / name)
        assert loaded.layers == ["first", "second"]
        assert_identical(loaded.new_variance, report.new_variance)


def two_classes(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    return rng.normal(size=(rows, 4)) + 2.0 * y[:, None], y


def classifier(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(16, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def test_a_shifted_domain_is_recovered_without_labels():
    x, y = two_classes()
    model = classifier()
    model.fit(x, y, epochs=10, verbose=0)
    other_x, other_y = two_classes(seed=1)
    other_x = 3 * other_x + 10  # another sensor, with another gain and offset

    def accuracy():
        return model.evaluate(other_x, other_y, verbose=0)[1]

    # All rows are taken for one class; each class has half of them.
    assert accuracy() < 0.6
    refresh_batch_norm(model, other_x)
    # Two Gaussians at a distance of 4 deviations: the best rule has 97.7 %.
    assert accuracy() > 0.95


def test_averaged_weights_are_refreshed():
    x, y = two_classes()
    model, members = classifier(), []
    for _ in range(2):
        model.fit(x, y, verbose=0)
        members.append(keras.models.clone_model(model))
        members[-1].set_weights(model.get_weights())
    averaged = kdt.models.average_weights(members, refresh=lambda m: refresh_batch_norm(m, x))
    kernel = np.mean([m.layers[0].get_weights()[0] for m in members], axis=0)
    h = x @ kernel.astype("float64")
    norm = averaged.layers[1]
    np.testing.assert_allclose(values([norm.moving_mean])[0], h.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values([norm.moving_variance])[0], h.var(axis=0), rtol=1e-4)
