import gc

import keras
import numpy as np
import pytest
from small_models import regression_data

from keras_deeptricks.utils.batch_losses import BatchLosses, fit_recorded


class FirstOf(BatchLosses):
    """Keeps the losses of the first `count` batches."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def is_over(self, loss, logs):
        self.losses.append(loss)
        return len(self.losses) == self.count


def test_each_batch_has_its_own_loss_and_the_training_ends():
    x, y = regression_data(rows=32)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    # At rate 0 the loss of a batch is that of evaluating it.
    model.compile(keras.optimizers.SGD(0.0), "mse")
    recorder = FirstOf(3)
    fit_recorded(model, recorder, x, y, batch_size=8, shuffle=False, epochs=2)
    assert recorder.has_ended_training
    alone = [model.evaluate(x[i : i + 8], y[i : i + 8], verbose=0) for i in (0, 8, 16)]
    np.testing.assert_allclose(recorder.losses, alone, rtol=1e-5)


def test_what_ends_the_training_must_be_said():
    with pytest.raises(TypeError, match="is_over"):
        BatchLosses()


def test_a_stopped_training_leaves_no_iterator_behind():
    if keras.config.backend() != "tensorflow":
        pytest.skip("only TensorFlow's iterators wait for the garbage collection")
    from tensorflow.python.data.ops.iterator_ops import OwnedIterator

    x, y = regression_data(rows=32)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    fit_recorded(model, FirstOf(2), x, y, batch_size=8)
    assert not any(isinstance(thing, OwnedIterator) for thing in gc.get_objects())
