"""Dropout that is active in inference too, for Monte-Carlo estimates of uncertainty."""

import keras

from keras_deeptricks.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class MCDropout(keras.layers.Dropout):
    """Dropout that is always active, whatever `training` says.

    Each call of `predict` then gives another sample of the predictions; their mean and spread
    over many calls are the Monte-Carlo dropout estimate. Only this layer is random: a batch
    normalization beside it stays in inference mode, unlike under `model(x, training=True)`.

    Args:
        rate: Share of the inputs set to zero, from 0 to below 1; the rest is divided by
            1 − `rate`.
        noise_shape: Shape of the mask, as in `keras.layers.Dropout`.
        seed: A whole number or None.
        **kwargs: The arguments of `keras.Layer`.

    Raises:
        TypeError: `rate` is not a number.
        ValueError: `rate` is outside the range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((8,)), kdt.layers.MCDropout(0.5, seed=1), keras.layers.Dense(1)]
    )
    x = np.ones((4, 8))
    samples = np.stack([model.predict(x, verbose=0) for _ in range(10)])
    mean, deviation = samples.mean(axis=0), samples.std(axis=0)
    assert deviation.min() > 0
    ```

    Reference: Gal & Ghahramani, Dropout as a Bayesian approximation, 2016, section 4.
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        rate = check_number("rate", rate, minimum=0, below=1)
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **kwargs)

    def call(self, inputs, training=True):
        return super().call(inputs, training=True)


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class MCAlphaDropout(keras.layers.AlphaDropout):
    """Alpha dropout that is always active: Monte-Carlo dropout for self-normalizing networks.

    Keeps the mean and variance of SELU activations while it drops units, in training and in
    inference.

    Args:
        rate: Share of the inputs set to the negative saturation value, from 0 to below 1.
        noise_shape: Shape of the mask, as in `keras.layers.AlphaDropout`.
        seed: A whole number or None.
        **kwargs: The arguments of `keras.Layer`.

    Raises:
        TypeError: `rate` is not a number.
        ValueError: `rate` is outside the range. (Keras accepts 1 and then divides by zero.)

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    layer = kdt.layers.MCAlphaDropout(0.1, seed=1)
    x = np.random.default_rng(0).normal(size=(1000, 100)).astype("float32")
    dropped = keras.ops.convert_to_numpy(layer(x, training=False))
    assert abs(dropped.mean()) < 0.02 and abs(dropped.std() - 1) < 0.02
    ```

    Reference: Klambauer, Unterthiner, Mayr & Hochreiter, Self-normalizing neural networks, 2017,
    section 2; Gal & Ghahramani, 2016.
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        rate = check_number("rate", rate, minimum=0, below=1)
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **kwargs)

    def call(self, inputs, training=True):
        return super().call(inputs, training=True)
