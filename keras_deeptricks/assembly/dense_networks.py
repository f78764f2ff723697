"""The two default networks, compiled: batch norm or self-normalizing."""

import keras

from keras_deeptricks.assembly.parts import Seeds, assemble, regularizer
from keras_deeptricks.constraints.max_norm import MaxNorm
from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

# From this number of hidden layers on, batch norm is worth its cost.
DEEP_ENOUGH_FOR_BATCH_NORM = 3


def default_network(
    input_shape,
    outputs,
    hidden_units=(300, 100),
    task="classification",
    normalization="auto",
    batch_norm_position="before",
    adapt_to=None,
    adapt_targets_to=None,
    activation="elu",
    dropout=0.0,
    l2=0.0,
    max_norm=None,
    optimizer="momentum",
    learning_rate=None,
    momentum=0.95,
    adaptive_clip_factor=None,
    precision="float32",
    steps_per_execution=1,
    seed=None,
    name="default_network",
):
    """The default configuration of a dense network: He initialization, ELU, batch norm, momentum.

    Use it as the first network on any table or small image. The inputs are standardized inside
    the model: images by one mean and deviation per channel, tables per feature.

    Args:
        input_shape: Shape of one row: `(features,)` for a table, `(height, width)` or `(height,
            width, channels)` for an image, flattened after standardization.
        outputs: Number of classes, labels or targets; 1 for a binary task.
        hidden_units: Width of each hidden layer. Defaults to `(300, 100)`.
        task: `"classification"` (softmax), `"binary"` or `"multilabel"` (sigmoid), or
            `"regression"` (linear).
        normalization: `"batch"`, None, or `"auto"`: batch norm from three hidden layers on.
        batch_norm_position: `"before"` the activation (then the dense layer has no bias) or
            `"after"` it.
        adapt_to: Data to take the inputs' statistics from, or None to call
            `adapt` on the layer `"standardization"` later.
        adapt_targets_to: Targets of a regression, an array. The model then predicts in their
            units while it is trained in units of their deviation, and its loss is 1 − R².
        activation: Name of the activation, whose initializer is chosen by
            `keras_deeptricks.initializers.for_activation`. Defaults to `"elu"`.
        dropout: Rate of dropout after each hidden layer, from 0 to below 1. Defaults to `0.0`.
        l2: Strength of the l2 penalty on the kernels, at least 0. Defaults to `0.0`.
        max_norm: Limit on the norm of each hidden unit's incoming weights, above 0, or None for
            none: `keras_deeptricks.constraints.MaxNorm`. The output layer is left free, as by its
            authors, who advise it with dropout and high learning rates.
        optimizer: `"momentum"` (SGD with Nesterov momentum), `"rmsprop"`, `"nadam"`, or a
            `keras.optimizers.Optimizer`.
        learning_rate: A float or schedule. By default 0.02 for momentum and 0.001 for the others.
        momentum: Momentum, or β₁ of Nadam; a float or schedule. Defaults to `0.95`, where 1cycle
            begins.
        adaptive_clip_factor: λ of `keras_deeptricks.optimizers.AdaptiveGradientClipping`, which
            then acts on every layer but the output layer `"scores"`; None for no clipping.
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"` (with loss scaling). The
            standardization and the output stay in float32.
        steps_per_execution: Steps per compiled call, as in `model.compile`.
        seed: Whole number that fixes the initial weights and dropout masks, or None.
        name: Name of the model.

    Returns:
        A compiled `keras.Model`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(5, 2, size=(100, 8))
    model = kdt.recipes.default_network((8,), 3, hidden_units=(50, 50, 50), adapt_to=x)
    model.fit(x, np.arange(100) % 3, verbose=0)
    ```

    Reference: Géron, Hands-on machine learning, 2nd and 3rd ed., chapter 11, "Summary and
    practical guidelines"; He et al., 2015; Clevert et al., 2016; Ioffe & Szegedy, 2015;
    Srivastava et al., Dropout, 2014, section 5.1 (max-norm).
    """
    units = _check_units(hidden_units)
    check_choice("normalization", normalization, ("auto", "batch", None))
    check_choice("batch_norm_position", batch_norm_position, ("before", "after"))
    if normalization == "auto":
        normalization = "batch" if len(units) >= DEEP_ENOUGH_FOR_BATCH_NORM else None
    dropout = check_number("dropout", dropout, minimum=0, below=1)
    seeds = Seeds(seed)

    def hidden(tensor, width, policy):
        before = normalization == "batch" and batch_norm_position == "before"
        tensor = keras.layers.Dense(
            width,
            use_bias=not before,
            kernel_initializer=for_activation(activation, seed=seeds.next()),
            kernel_regularizer=regularizer(l2),
            kernel_constraint=_constraint(max_norm),
            dtype=policy,
        )(tensor)
        if before:
            tensor = keras.layers.BatchNormalization(dtype=policy)(tensor)
        tensor = keras.layers.Activation(activation, dtype=policy)(tensor)
        if normalization == "batch" and not before:
            tensor = keras.layers.BatchNormalization(dtype=policy)(tensor)
        if dropout:
            tensor = keras.layers.Dropout(dropout, seed=seeds.next(), dtype=policy)(tensor)
        return tensor

    return assemble(
        input_shape,
        outputs,
        _dense_body(units, hidden),
        seeds,
        name=name,
        task=task,
        adapt_to=adapt_to,
        adapt_targets_to=adapt_targets_to,
        l2=l2,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        adaptive_clip_factor=adaptive_clip_factor,
        precision=precision,
        steps_per_execution=steps_per_execution,
    )


def self_normalizing_network(
    input_shape,
    outputs,
    hidden_units=(300, 100),
    task="classification",
    alpha_dropout=0.1,
    adapt_to=None,
    adapt_targets_to=None,
    l2=0.0,
    max_norm=None,
    optimizer="momentum",
    learning_rate=None,
    momentum=0.95,
    adaptive_clip_factor=None,
    precision="float32",
    steps_per_execution=1,
    seed=None,
    name="self_normalizing_network",
):
    """A self-normalizing network: LeCun initialization, SELU, alpha dropout, no batch norm.

    Use it for deep plain stacks of dense layers: activations keep mean 0 and variance 1 through
    any number of layers. This holds only for standardized inputs, LeCun initialization and a
    plain stack: skip connections, ordinary dropout, unscaled inputs or another initializer break
    it, and an l2 penalty or a max-norm below the norms of its weights, about 1, bends it.

    Args:
        alpha_dropout: Rate of the alpha dropout behind each hidden layer, from 0 to below 1.
            Defaults to `0.1`.
        input_shape, outputs, hidden_units, task, adapt_to, adapt_targets_to, l2, max_norm,
        optimizer, learning_rate, momentum, adaptive_clip_factor, precision, steps_per_execution,
        seed, name: As in `default_network`.

    Returns:
        A compiled `keras.Model`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(5, 2, size=(100, 8))
    model = kdt.recipes.self_normalizing_network((8,), 3, hidden_units=(50,) * 8, adapt_to=x)
    model.fit(x, np.arange(100) % 3, verbose=0)
    ```

    Reference: Klambauer, Unterthiner, Mayr & Hochreiter, Self-normalizing neural networks, 2017.
    """
    alpha_dropout = check_number("alpha_dropout", alpha_dropout, minimum=0, below=1)
    seeds = Seeds(seed)

    def hidden(tensor, width, policy):
        tensor = keras.layers.Dense(
            width,
            activation="selu",
            kernel_initializer=for_activation("selu", seed=seeds.next()),
            kernel_regularizer=regularizer(l2),
            kernel_constraint=_constraint(max_norm),
            dtype=policy,
        )(tensor)
        if alpha_dropout:
            tensor = keras.layers.AlphaDropout(alpha_dropout, seed=seeds.next(), dtype=policy)(
                tensor
            )
        return tensor

    return assemble(
        input_shape,
        outputs,
        _dense_body(_check_units(hidden_units), hidden),
        seeds,
        name=name,
        task=task,
        adapt_to=adapt_to,
        adapt_targets_to=adapt_targets_to,
        l2=l2,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        adaptive_clip_factor=adaptive_clip_factor,
        precision=precision,
        steps_per_execution=steps_per_execution,
    )


def _dense_body(hidden_units, hidden):
    """Hidden layers one after the other, on flattened inputs."""

    def body(tensor, policy):
        if len(tensor.shape) > 2:
            tensor = keras.layers.Flatten(dtype="float32")(tensor)
        for width in hidden_units:
            tensor = hidden(tensor, width, policy)
        return tensor

    return body


def _constraint(max_norm):
    return None if max_norm is None else MaxNorm(check_number("max_norm", max_norm, above=0))


def _check_units(hidden_units):
    if isinstance(hidden_units, int):
        hidden_units = (hidden_units,)
    if not isinstance(hidden_units, (tuple, list)):
        raise TypeError(
            "`hidden_units` must be a list of widths, one per hidden layer. "
            f"Received: hidden_units={hidden_units!r}."
        )
    return tuple(check_integer("hidden_units", width, minimum=1) for width in hidden_units)
