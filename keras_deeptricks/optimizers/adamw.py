"""AdamW whose first decay rate may be a schedule."""

import keras

from keras_deeptricks.optimizers.bias_correction import FirstMomentCorrection
from keras_deeptricks.optimizers.weight_decay import WeightDecay
from keras_deeptricks.utils.backend import instantiated_class
from keras_deeptricks.utils.hyperparameters import Schedulable


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class AdamW(WeightDecay, FirstMomentCorrection, instantiated_class(keras.optimizers.AdamW)):
    """Adam with decoupled weight decay, whose `beta_1` can follow a schedule.

    Before `keras_deeptricks.optimizers.Adam`'s step each variable is multiplied by
    1 − η·`weight_decay`, with η the learning rate of the step.

    Args:
        learning_rate: Float, or a schedule. Defaults to `0.001`.
        weight_decay: Strength of the decay. Defaults to `0.004`. Unlike Keras' it leaves alone
            biases, the parameters of normalization and all other vectors, and what
            `exclude_from_weight_decay` names.
        beta_1: Float from 0 to 1, or a schedule with such values below 1. Defaults to `0.9`.
        beta_2: Decay of the average of squared gradients. Defaults to `0.999`.
        epsilon: Kingma and Ba's "epsilon hat". Defaults to `1e-7`.
        amsgrad: Whether to keep the largest average of squares. Defaults to `False`.
        **kwargs: The other arguments of `keras.optimizers.AdamW`; and `decay_biases`, whether
            `weight_decay` also acts on biases and the parameters of normalization. Defaults to
            `False`.

    Raises:
        TypeError: `beta_1` is neither a number nor a schedule.
        ValueError: `beta_1` is outside 0…1.

    Example:

    ```python
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.AdamW(1e-3, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["embeddings"])
    ```

    Reference: Loshchilov & Hutter, Decoupled weight decay regularization, 2019, algorithm 2.
    """

    beta_1 = Schedulable()

    def __init__(
        self,
        learning_rate=0.001,
        weight_decay=0.004,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            **kwargs,
        )
