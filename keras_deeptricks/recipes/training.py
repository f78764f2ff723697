"""Training with a default configuration in one call."""

from keras_deeptricks.assembly.course import IMAGE_NETWORKS, train
from keras_deeptricks.assembly.dense_networks import default_network, self_normalizing_network
from keras_deeptricks.utils.checks import check_choice


def train_default(
    x,
    y=None,
    *,
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains the default configuration: He, ELU, batch norm by depth, momentum, 1cycle.

    One call from data to a trained model. It looks at the targets to see what kind of task this
    is, standardizes the inputs inside the model, finds a learning rate, trains one cycle, and
    keeps the weights of the best epoch: of the highest validation accuracy for classes, of the
    lowest validation loss for other targets. Everything it chose, and why, is in the run's
    `summary()`. (The validation figure of an epoch chosen by it is a little flattering: judge the
    model by rows that had no part in training.)

    Args:
        x: Inputs, an array of shape (rows, features), (rows, height, width) or (rows, height,
            width, channels); or a data set that yields (inputs, targets) and can be read again: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`.
        y: Targets: classes as whole numbers, strings or one-hot rows; 0 and 1 in several columns
            for multi-label; other numbers for a regression. None for a data set, whose classes
            must be 0, 1, 2, …
        validation_data: (x, y), (x, y, sample_weight) or a data set.
        validation_split: Share of the rows of arrays to validate on, drawn at random, where
            `validation_data` is not given. Defaults to `0.1`. 0 for none: then the last epoch's
            weights are kept.
        epochs: Number of epochs, which the cycle spans. Defaults to `20`.
        batch_size: Rows per step. By default 32, or more where an epoch would have over 2,000
            steps.
        learning_rate: The peak of the cycle. By default it is found by
            `keras_deeptricks.diagnostics.find_learning_rate`.
        patience: Epochs without a better validation figure before training stops, once the rate
            has come down to a tenth of its peak. By default a quarter of `epochs`.
        class_weight: Dictionary from classes, as they stand in `y`, to weights, or None.
        sample_weight: As in `model.fit`.
        callbacks: Further Keras callbacks.
        seed: Whole number that fixes everything random, by `keras.utils.set_random_seed`.
        verbose: As in `model.fit`.
        **network_options: Arguments of `default_network`, such as `hidden_units`, `task`,
            `normalization`, `l2`, `dropout`, `optimizer` or `precision`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: An argument is out of its range, or the data is empty, of the wrong rank, of
            mismatched lengths, NaN or infinite, or of one class only. Nothing has been trained
            then.

    Example:

    ```python
    from sklearn.datasets import load_digits
    import keras_deeptricks as kdt

    x, y = load_digits(return_X_y=True)
    run = kdt.recipes.train_default(x.reshape(-1, 8, 8), y, epochs=5, seed=1, verbose=0)
    assert run.evaluate(x.reshape(-1, 8, 8), y)["accuracy"] > 0.9
    ```

    Reference: Géron, Hands-on machine learning, chapter 11; Smith, 2018, arXiv:1803.09820.
    """
    return train(default_network, "default configuration", locals())


def train_self_normalizing(
    x,
    y=None,
    *,
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains a self-normalizing network: LeCun, SELU, alpha dropout, momentum, 1cycle.

    As `train_default`, with `self_normalizing_network` as the model. Prefer it where the net is a
    deep plain stack of dense layers.

    Args:
        x, y, validation_data, validation_split, epochs, batch_size, learning_rate, patience,
        class_weight, sample_weight, callbacks, seed, verbose: As in `train_default`.
        **network_options: Arguments of `self_normalizing_network`, such as `hidden_units`, `task`,
            `alpha_dropout`, `optimizer` or `precision`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: As in `train_default`.

    Example:

    ```python
    from sklearn.datasets import load_breast_cancer
    import keras_deeptricks as kdt

    x, y = load_breast_cancer(return_X_y=True)
    run = kdt.recipes.train_self_normalizing(
        x, y, epochs=5, hidden_units=(32, 32, 32), seed=1, verbose=0
    )
    assert run.evaluate(x, y)["accuracy"] > 0.9
    ```

    Reference: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return train(self_normalizing_network, "self-normalizing network", locals())


def train_residual(
    x,
    y=None,
    *,
    network="resnet",
    validation_data=None,
    validation_split=0.1,
    epochs=20,
    batch_size=None,
    learning_rate=None,
    patience=None,
    class_weight=None,
    sample_weight=None,
    callbacks=(),
    seed=None,
    verbose="auto",
    **network_options,
):
    """Trains a residual network on small images: batch norm, momentum, 1cycle.

    As `train_default`, with a convolutional network as the model; from some thousand images on.

    Args:
        network: `"resnet"`, `"wide_resnet"`, `"densenet"` or `"plain_net"`, the function of
            `keras_deeptricks.recipes` that makes the model.
        batch_size: Rows per step. By default 128, or less, but at least 8, where an epoch would
            have fewer than 20 steps.
        x, y, validation_data, validation_split, epochs, learning_rate, patience, class_weight,
        sample_weight, callbacks, seed, verbose: As in `train_default`; `x` holds images.
        **network_options: Arguments of that function, such as `depth`, `stochastic_depth`,
            `augmentation`, `l2` or `precision`. Layers of the augmentation draw as their own seeds
            say, not by `seed`.

    Returns:
        A `TrainingRun`.

    Raises:
        TypeError: An argument or the data is of the wrong type.
        ValueError: As in `train_default`.

    Example:

    ```python
    from sklearn.datasets import load_digits
    import keras_deeptricks as kdt

    x, y = load_digits(return_X_y=True)
    run = kdt.recipes.train_residual(
        x.reshape(-1, 8, 8), y, depth=8, filters=8, epochs=3, seed=1, verbose=0
    )
    assert run.evaluate(x.reshape(-1, 8, 8), y)["accuracy"] > 0.9
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015; Smith, 2018, arXiv:1803.09820.
    """
    check_choice("network", network, tuple(IMAGE_NETWORKS))
    return train(IMAGE_NETWORKS[network], network.replace("_", " "), locals())
