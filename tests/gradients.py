"""Gradients of a layer, as training takes them and by central differences."""

import keras
import numpy as np
from keras import ops


class Gradients(keras.optimizers.Optimizer):
    """Keeps the last gradients in `kept` and leaves the weights as they are.

    A step that also changes the weights is not read off reliably on TensorFlow: with a loss that is
    linear in the outputs, gradients were seen to be taken with weights already updated.
    """

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.kept = [self.add_variable_from_reference(v, "gradient") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.kept[self._get_variable_index(variable)], gradient)


class Held(keras.layers.Layer):
    """Outputs a weight instead of its inputs: the gradient of it is that of inputs."""

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.value = self.add_weight(shape=self.start.shape, name="value")
        self.value.assign(self.start)

    def call(self, inputs):
        return ops.convert_to_tensor(self.value)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.start.shape[1:])


def gradients(layer, x, step=1e-2, **weights):
    """Pairs (gradient in training, central differences) for the inputs and each weight.

    The gradient is that of a random linear function of the outputs. Give a `step` that crosses no
    kink of a piecewise linear layer.

    Args:
        layer: A layer.
        x: Inputs, with rows along the first axis.
        step: Step of the differences.
        **weights: Values by the layer's attributes, such as `bias`.
    """
    x = np.asarray(x, "float32")
    model = keras.Sequential([keras.Input((1,)), Held(x), layer])
    for name, value in weights.items():
        getattr(layer, name).assign(np.asarray(value, "float32"))
    dummy = np.zeros((len(x), 1), "float32")
    outputs = ops.convert_to_numpy(model(dummy))
    factors = np.random.default_rng(0).uniform(-1, 1, outputs.shape).astype("float32")

    def loss(y_true, y_pred):
        # Summed over the rows, which Keras takes the mean of.
        return len(x) * ops.sum(ops.reshape(y_true * y_pred, (len(x), -1)), axis=-1)

    before = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    optimizer = Gradients(learning_rate=0.0)
    model.compile(optimizer, loss)
    model.train_on_batch(dummy, factors)
    found = [np.array(ops.convert_to_numpy(gradient)) for gradient in optimizer.kept]

    def value():
        return np.sum(factors * ops.convert_to_numpy(model(dummy)), dtype="float64")

    expected = []
    for variable, old in zip(model.trainable_variables, before, strict=True):
        slope = np.zeros(old.shape)
        for place in np.ndindex(*old.shape):
            moved = old.copy()
            around = []
            for sign in (1, -1):
                moved[place] = old[place] + sign * np.float32(step)
                variable.assign(moved)
                around.append(value())
            slope[place] = (around[0] - around[1]) / (2 * step)
        variable.assign(old)
        expected.append(slope)
    return list(zip(found, expected, strict=True))


def assert_gradients(layer, x, step=1e-2, **weights):
    """Asserts that training takes the gradients that differences give."""
    pairs = gradients(layer, x, step, **weights)
    assert len(pairs) == 1 + len(layer.trainable_variables)
    for found, expected in pairs:
        assert np.abs(expected).max() > 0.1  # there is something to compare
        # Outputs of size 1 to 10 in float32 are off by 1e-6, their difference quotient by 1e-4.
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
