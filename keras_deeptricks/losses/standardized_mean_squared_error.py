"""Mean squared error in units of the targets' standard deviations."""

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class StandardizedMeanSquaredError(keras.losses.Loss):
    """The mean over the targets of ((y − ŷ) / deviation)².

    For a regression whose model predicts in the targets' own units: the loss, its gradient, and
    with it a good learning rate, do not depend on these units, and targets of different scale
    count alike. A model that always predicts the mean has a loss of 1, so the loss is the share
    of variance not explained, 1 − R².

    Args:
        deviation: The standard deviation of the targets: a number, or a list with one for each.
        reduction, name, dtype: As in every `keras.losses.Loss`.

    Raises:
        TypeError: A deviation is not a number.
        ValueError: A deviation is not above 0, or there are more or fewer of them than targets.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    loss = kdt.losses.StandardizedMeanSquaredError([10.0, 1.0])
    assert float(loss(np.array([[20.0, 2.0]]), np.array([[10.0, 1.0]]))) == 1.0
    ```
    """

    def __init__(
        self,
        deviation=1.0,
        reduction="sum_over_batch_size",
        name="standardized_mean_squared_error",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        deviations = np.asarray(deviation, dtype=object).ravel().tolist()
        if not deviations:
            raise ValueError(
                "`deviation` must hold a number for each target. "
                f"Received: deviation={deviation!r}."
            )
        self.deviation = [check_number("deviation", value, above=0) for value in deviations]

    def call(self, y_true, y_pred):
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        if len(y_true.shape) < len(y_pred.shape):
            y_true = ops.expand_dims(y_true, -1)
        elif len(y_true.shape) > len(y_pred.shape):
            y_pred = ops.expand_dims(y_pred, -1)
        if len(self.deviation) not in (1, y_pred.shape[-1]):
            raise ValueError(
                f"`deviation` holds {len(self.deviation)} numbers, but there are "
                f"{y_pred.shape[-1]} targets."
            )
        scale = ops.convert_to_tensor(self.deviation, dtype=y_pred.dtype)
        return ops.mean(ops.square((y_true - y_pred) / scale), axis=-1)

    def get_config(self):
        return {**super().get_config(), "deviation": self.deviation}
