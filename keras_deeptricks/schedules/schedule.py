"""What every schedule of this package is: a pure, elementwise function of the step."""

import abc
import math
import numbers

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils import backend


class _Scalars:
    """The part of NumPy that schedules use, for single Python numbers; the rest is NumPy's."""

    minimum = staticmethod(min)
    maximum = staticmethod(max)
    cos = staticmethod(math.cos)
    exp = staticmethod(math.exp)

    @staticmethod
    def where(condition, first, second):
        return first if condition else second

    def __getattr__(self, name):
        return getattr(np, name)


_SCALARS = _Scalars()


class Schedule(keras.optimizers.schedules.LearningRateSchedule, abc.ABC):
    """Base of the schedules here: one formula, `value`, for a compiled step and for NumPy.

    A subclass writes `value(step, xp)` with the functions that `keras.ops` and `numpy` share.
    Called with a step it behaves as any Keras schedule does. `numpy_values` gives the whole
    course at once, in double precision, for plots and tests.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    @keras.saving.register_keras_serializable(package="mine")
    class Sawtooth(kdt.schedules.Schedule):
        def value(self, step, xp):
            return 0.1 * (1.0 - xp.mod(step, 10.0) / 10.0)

        def get_config(self):
            return {}

    assert Sawtooth().numpy_values([0, 5, 10, 15]).round(6).tolist() == [0.1, 0.05, 0.1, 0.05]
    ```
    """

    @abc.abstractmethod
    def value(self, step, xp):
        """The value at `step`, a floating-point scalar or array of the namespace `xp`.

        `xp` is `keras.ops`, `numpy`, or for a single Python number a quicker stand-in for it.
        """

    def __call__(self, step):
        if backend.runs_eagerly() or isinstance(step, numbers.Number):
            # Python's numbers are far quicker than a dozen operations on small tensors.
            step = np.asarray(ops.convert_to_numpy(step), "float64")
            value = self.float_value(step) if step.ndim == 0 else self.value(step, np)
            return ops.convert_to_tensor(value, dtype=_dtype())
        return self.value(ops.cast(step, _dtype()), ops)

    def float_value(self, step):
        """The value at one step, a number, as a Python float."""
        return float(self.value(float(step), _SCALARS))

    def numpy_values(self, steps):
        """The values at an array of steps, as a float64 array of the same shape."""
        steps = np.asarray(steps, "float64")
        return np.broadcast_to(np.asarray(self.value(steps, np), "float64"), steps.shape).copy()


def _dtype():
    # Half precision cannot count beyond 2,048 steps (float16) or 256 (bfloat16).
    return "float64" if keras.config.floatx() == "float64" else "float32"
