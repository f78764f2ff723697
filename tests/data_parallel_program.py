"""Trains the same networks on one device and on two; run in a process that has two.

python data_parallel_program.py FILE.npz
"""

import os
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.optimizers.adaptive_gradient_clipping import clipped
from keras_deeptricks.utils.data_parallel import data_parallel

ON_TENSORFLOW = keras.config.backend() == "tensorflow"
LIMIT = 1.0
CLIP_FACTOR = 0.01


class ClipsEarly(kdt.optimizers.SGD):
    """Clips the gradients that `apply` is given: on TensorFlow those of one device's rows."""

    def apply(self, grads, trainable_variables=None):
        pairs = zip(grads, trainable_variables or self._trainable_variables, strict=True)
        grads = [
            clipped(gradient, variable, CLIP_FACTOR, 1e-3, tuple(range(len(variable.shape) - 1)))
            for gradient, variable in pairs
        ]
        super().apply(grads, trainable_variables)


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(320, 8)).astype("float32")
    y = x[:, :3].argmax(1).astype("int32")
    # Labels by chance: the validation loss is at its best before the end.
    return x, y, (x[:64], rng.integers(0, 3, 64))


def train(results, name, devices, *, normalization=None, synchronized=None, **options):
    """Fifty steps; puts the last weights, the restored ones and what tells of the run down."""
    x, y, validation = data()
    keras.utils.set_random_seed(0)
    options = {"adaptive_clip_factor": CLIP_FACTOR, **options}
    with data_parallel(devices):
        model = kdt.recipes.default_network(
            (8,), 3, (16, 16), normalization=normalization, adapt_to=x, seed=1, **options
        )
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.constraint = kdt.constraints.MaxNorm(LIMIT)
            if synchronized is not None and hasattr(layer, "synchronized"):
                layer.synchronized = synchronized
        last = []
        stopping = kdt.callbacks.EarlyStopping(patience=50)
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: last.append(model.get_weights())
        )
        log = kdt.callbacks.HyperparameterLog()
        history = model.fit(
            x,
            y,
            batch_size=32,
            epochs=5,
            shuffle=False,
            verbose=0,
            validation_data=validation,
            callbacks=[kdt.callbacks.OneCycle(0.05), log, stopping, keep],
        )
    key = f"{name}.{devices}"
    results[f"{key}.last"] = flattened(last[-1])
    results[f"{key}.restored"] = flattened(model.get_weights())
    results[f"{key}.best_epoch"] = stopping.best_epoch
    results[f"{key}.steps"] = len(log.steps)
    results[f"{key}.momenta"] = log.momenta
    results[f"{key}.val_loss"] = history.history["val_loss"]
    # Of the weights at the end, not of those restored.
    results[f"{key}.norms"] = np.concatenate(
        [np.linalg.norm(w, axis=0) for w in last[-1] if w.ndim == 2]
    )
    results[f"{key}.copies"] = copies(model.trainable_variables[0])


def flattened(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def copies(variable):
    """On how many devices a variable lies."""
    if ON_TENSORFLOW:
        return len(getattr(variable.value, "values", [None]))
    return len(variable.value.sharding.device_set)


def tune(results, devices):
    """A search; puts down on how many devices it trained and the models of its result lie."""
    x, y, validation = data()
    trained_on = []

    class Lying(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            trained_on.append(copies(self.model.trainable_variables[0]))

        def __deepcopy__(self, memo):
            return self  # Keras Tuner copies callbacks

    with tempfile.TemporaryDirectory() as folder:
        found = kdt.tuners.search(
            x[:-1],
            y[:-1],
            validation_data=validation,
            trials=1,
            epochs=2,
            space={"depth": 1, "width": 8, "normalization": "batch", "learning_rate": 0.05,
                   "dropout": 0.0, "optimizer": "momentum", "batch_size": 32},
            callbacks=Lying(),
            devices=devices,
            directory=folder,
            seed=0,
        )  # fmt: skip
    results[f"tune.{devices}.score"] = found.ranked()[0]["metrics"]["val_data_loss"]
    results[f"tune.{devices}.trained_on"] = trained_on
    results[f"tune.{devices}.kept_on"] = [
        copies(model.trainable_variables[0]) for model in (found.best_model, found.model)
    ]
    results[f"tune.{devices}.weights"] = flattened(found.model.get_weights())


def search(results, devices):
    """The range test outside the block that built the model, as it is under Keras Tuner."""
    x, y, _ = data()
    keras.utils.set_random_seed(0)
    with data_parallel(devices):
        model = kdt.recipes.default_network((8,), 3, (12,), adapt_to=x, seed=1)
    found = find_learning_rate(model, x, y, batch_size=32, steps=12)
    results[f"search.{devices}"] = found.losses


def main(path):
    if ON_TENSORFLOW:
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(processor, parts)
    results = {}
    train(results, "free", 1, adaptive_clip_factor=None)
    for devices in (1, 2):
        train(results, "plain", devices)
        train(results, "batch_norm", devices, normalization="batch")
        search(results, devices)
        tune(results, devices)
    if ON_TENSORFLOW:
        early = {"optimizer": ClipsEarly(0.05, momentum=0.9), "adaptive_clip_factor": None}
        train(results, "clips_early", 1, **early)
        with data_parallel(2):
            early["optimizer"] = ClipsEarly(0.05, momentum=0.9)
        train(results, "clips_early", 2, **early)
        train(results, "unsynchronized", 2, normalization="batch", synchronized=False)
    with data_parallel() as all_devices:
        results["count"] = all_devices.count
    results["distribution_left"] = keras.distribution.distribution() is not None
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
