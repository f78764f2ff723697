"""Capture and restore everything that a training step changes, bit for bit."""

import contextlib
import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.backend import home_of
from keras_deeptricks.utils.checks import check_built
from keras_deeptricks.utils.compiled_step import clone_optimizer
from keras_deeptricks.utils.trainable_flags import TrainableFlags


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingState:
    """A copy of a model's state: what a training step, or setting `trainable`, can change.

    That is: weights, moving statistics, the state of every `SeedGenerator`, optimizer slots and
    counters, metrics, the `trainable` flags of layers and variables, and `stop_training`. Use it
    around anything that trains a model only to learn something about it.

    Make one with `TrainingState.capture(model)`.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.utils.training_state import TrainingState

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    before = model.get_weights()
    state = TrainingState.capture(model)
    model.fit(np.ones((8, 2)), np.zeros((8, 1)), verbose=0)
    state.restore()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    ```
    """

    model: keras.Model
    variables: list
    metrics: list
    optimizer: object
    optimizer_built: bool
    optimizer_variables: list
    trainable: TrainableFlags
    stop_training: bool

    @classmethod
    def capture(cls, model):
        """Copies the state of a built `model`, compiled or not, to host memory.

        Raises:
            TypeError: `model` is no Keras model.
            ValueError: `model` has no variables yet; call it on a batch first.
        """
        check_built("model", model)
        optimizer = getattr(model, "optimizer", None)
        return cls(
            model=model,
            variables=_values(model.variables),
            metrics=_values(model.metrics_variables),
            optimizer=optimizer,
            optimizer_built=bool(optimizer is not None and optimizer.built),
            optimizer_variables=_values(optimizer.variables if optimizer is not None else ()),
            trainable=TrainableFlags(model),
            stop_training=getattr(model, "stop_training", False),
        )

    def restore(self):
        """Puts the model back into the captured state.

        An optimizer that was built in the meantime gets the values of a fresh one. Variables
        that the model gained in the meantime are left alone, its metrics are reset.
        """
        self.trainable.restore()
        self._restore_metrics()
        _assign(self.variables)
        self._restore_optimizer()
        for layer, _ in self.trainable.layers:
            if isinstance(layer, keras.layers.Normalization) and layer.built:
                layer.finalize_state()  # it computes with copies of its variables
        if hasattr(self.model, "stop_training"):
            self.model.stop_training = self.stop_training

    def _restore_metrics(self):
        captured = {id(variable) for variable, _ in self.metrics}
        if any(id(variable) not in captured for variable in self.model.metrics_variables):
            self.model.reset_metrics()
        _assign(self.metrics)

    def _restore_optimizer(self):
        _assign(self.optimizer_variables)
        if self.optimizer is None or self.optimizer_built or not self.optimizer.built:
            return
        with home_of(self.model):
            fresh = clone_optimizer(self.optimizer)
            # Those it was built for: other layers may have been trainable then.
            fresh.build(self.optimizer._trainable_variables)
        known = {id(variable) for variable, _ in self.optimizer_variables}
        for variable, new in zip(self.optimizer.variables, fresh.variables, strict=True):
            if id(variable) not in known:
                variable.assign(ops.convert_to_numpy(new))


@contextlib.contextmanager
def preserved(model):
    """Restores the state of `model` when the block ends, also by an exception or Ctrl-C.

    Example:

    ```python
    import keras
    from keras_deeptricks.utils.training_state import preserved

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with preserved(model):
        model.set_weights([weight * 0 for weight in model.get_weights()])
    assert model.get_weights()[0].any()
    ```
    """
    state = TrainingState.capture(model)
    try:
        yield state
    finally:
        state.restore()


def _values(variables):
    return [(variable, np.array(ops.convert_to_numpy(variable))) for variable in variables]


def _assign(values):
    for variable, value in values:
        variable.assign(value)
