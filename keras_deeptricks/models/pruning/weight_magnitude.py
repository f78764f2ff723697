"""The magnitude of weights, as a saliency."""

import numpy as np

from keras_deeptricks.models.pruning.kernels import kernels_of


def weight_magnitude(model):
    """The absolute value of every weight that can be pruned.

    The plainest saliency: it needs no data, and with retraining it is hard to beat. As weights of
    different layers have different scales, `prune` can compare them in each layer alone
    (`scope="layer"`).

    Args:
        model: A built `keras.Model`.

    Returns:
        A dictionary from the path of a kernel, such as `"dense/kernel"`, to an array of its shape.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import weight_magnitude

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
    model.set_weights([np.array([[3.0], [-4.0]]), np.zeros(1)])
    (saliency,) = weight_magnitude(model).values()
    assert saliency.tolist() == [[3.0], [4.0]]
    ```

    Reference: Han, Pool, Tran & Dally, Learning both weights and connections for efficient neural
    networks, 2015, section 3.
    """
    return {path: np.abs(kernel.value()) for path, kernel in kernels_of(model).items()}
