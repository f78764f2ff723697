"""A model whose weights tell which rate and momentum each training step really used.

Row t of the data is the t-th unit vector and the loss is the prediction, so the gradient of step t
is 1 for weight t and 0 for all others. Under plain gradient descent weight t ends at minus the
rate of step t, whatever runs in Python meanwhile; under momentum the weights are those of
`expected_weights`.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="step_probe")
def mean_prediction(y_true, y_pred):
    """The prediction itself, as a loss."""
    return ops.mean(y_pred, axis=-1)


def probe_model(steps, optimizer, **compile_options):
    """A compiled model with one weight, starting at 0, for each step of an epoch."""
    model = keras.Sequential(
        [
            keras.Input((steps,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="probe"),
        ]
    )
    model.compile(optimizer, mean_prediction, **compile_options)
    return model


def probe_data(steps):
    """Unit vectors and targets that do not matter."""
    return np.eye(steps, dtype="float32"), np.zeros((steps, 1), "float32")


def fit_probe(model, epochs=1, callbacks=(), **options):
    """Trains one step per weight and epoch, in order; returns the change of the weights."""
    before = probe_weights(model)
    x, y = probe_data(len(before))
    model.fit(
        x,
        y,
        batch_size=1,
        epochs=epochs,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
        **options,
    )
    return probe_weights(model) - before


def probe_weights(model):
    """The weights of a probe, as float64."""
    return model.get_weights()[0].ravel().astype("float64")


def expected_weights(rates, momenta, width=None, nesterov=False, velocity=None):
    """The change of the weights by v ← m·v − η·g, θ ← θ + v (or θ + m·v − η·g), by hand.

    Step t has the unit vector t modulo `width` as its gradient.
    """
    width = len(rates) if width is None else width
    weights = np.zeros(width)
    velocity = np.zeros(width) if velocity is None else velocity.astype("float64")
    for step, (rate, momentum) in enumerate(zip(rates, momenta, strict=True)):
        gradient = np.eye(width)[step % width]
        velocity = momentum * velocity - rate * gradient
        weights += momentum * velocity - rate * gradient if nesterov else velocity
    return weights


def over_epochs(rates, width):
    """The sum over epochs of the rates of each step of an epoch, as a probe adds them up."""
    return np.sum(np.reshape(rates, (-1, width)), axis=0)
