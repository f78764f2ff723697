"""The search space around the default configuration of a dense network."""

from keras_deeptricks.assembly.dense_networks import default_network
from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.tuners.recipe_hypermodel import RecipeHyperModel
from keras_deeptricks.tuners.space import choice, integer, number


class DefaultConfigHyperModel(RecipeHyperModel):
    """Dense networks around the default configuration, for every tuner of Keras Tuner.

    Use it where `keras_deeptricks.recipes.train_default` is not good enough. Its first values are
    those of the recipe; a caller can fix each hyperparameter or give it another range.

    | hyperparameter | by default | applies |
    |---|---|---|
    | `depth`: hidden layers | 1…6 | |
    | `width` of the first one | 32…512, log | |
    | `shape`: widths fall geometrically, or are equal | `"conic"`, `"rectangular"` | |
    | `conic_ratio`: last width by first | 0.1…0.9 | conic |
    | `activation` | ELU, ReLU, leaky ReLU, SiLU, GELU | |
    | `normalization` | `"none"`, `"batch"` | |
    | `batch_norm_position`, to the activation | `"before"`, `"after"` | batch |
    | `dropout` | 0…0.5 | |
    | `l2` | 1e-6…1e-2, log | |
    | `weight_limit` | `"none"`, `"max_norm"` | |
    | `max_norm` | 1…8, log | max_norm |
    | `optimizer` | `"momentum"`, `"rmsprop"`, `"nadam"` | |
    | `momentum`, or β₁; under 1cycle 0.1 lower at the peak | 0.8…0.98 | |
    | `rate`: by a range test, or as below | `"found"`, `"searched"` | |
    | `learning_rate`, the highest one | 1e-4…0.5, log | searched |
    | `schedule` | `"1cycle"`, `"cosine"`, `"exponential"`, `"constant"` | |
    | `batch_size`, of arrays | 16…128, doubling | |
    | `epochs` | fixed | |

    A trial trains as the recipes do: the rate follows the schedule over all its steps (1cycle
    with the momentum, cosine to 0, exponential to a hundredth), and
    `keras_deeptricks.callbacks.EarlyStopping` keeps the best epoch by the search's objective. Its
    metrics hold `val_data_loss`, the `learning_rate` and `momentum` of the best epoch's last step,
    the `peak_learning_rate` and the `epochs_run`; its `message` says in a line for each execution
    why it stopped. A trial that diverges counts as ten times as bad as a network that knows
    nothing; it does not fail, since three failed trials in a row end a search of Keras Tuner.

    Hyperband gives the epochs itself, `epochs` then has no effect. A trial that goes on with
    another's weights takes the rate found there.

    Args:
        input_shape, outputs, task, precision: As in `keras_deeptricks.recipes.default_network`.
        space: Dictionary from names of hyperparameters to a value, which fixes one; a pair
            `(low, high)`, another range on the same scale; or a list, the choices. A given
            `learning_rate` makes `rate` `"searched"`, a given `max_norm` sets the limit.
        adapt_to: Inputs to take the statistics of the standardization from, read once. By
            default each trial takes those of its training data.
        adapt_targets_to: Targets of a regression: training goes in units of their deviation.
        epochs: Number of epochs of each trial. Defaults to 20.
        seed: Whole number from which the initial weights follow, others for each combination of
            values and each of its executions; or None for other weights each time.
        name: Name of the hypermodel.

    Attributes:
        objective: The figure to search by: `"val_accuracy"` for a classification or a binary
            task, else the lowest `"val_data_loss"`, the validation loss without the penalties of
            the weights, whose strength is searched.
        search_space: The `SearchSpace`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `space` names no hyperparameter.

    Example:

    ```python
    import tempfile

    import keras_tuner
    import numpy as np
    from keras_deeptricks.tuners import DefaultConfigHyperModel

    x = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    hypermodel = DefaultConfigHyperModel(
        (4,), 2, space={"width": (8, 16), "learning_rate": (1e-3, 1e-1)}, adapt_to=x, epochs=2
    )
    tuner = keras_tuner.RandomSearch(
        hypermodel,
        objective=hypermodel.objective,
        max_trials=2,
        directory=tempfile.mkdtemp(),
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    print(tuner.oracle.get_best_trials()[0].message)
    ```

    Reference: Bergstra & Bengio, Random search for hyper-parameter optimization, 2012.
    """

    def network_hyperparameters(self):
        return [
            *dense_shape(1, 6),
            choice(
                "activation",
                ("elu", "relu", "leaky_relu", "silu", "gelu"),
                allowed=for_activation,
            ),
            choice("normalization", ("none", "batch")),
            choice(
                "batch_norm_position", ("before", "after"), parent=("normalization", ("batch",))
            ),
            number("dropout", 0.0, 0.5, 0.0, bounds={"minimum": 0, "below": 1}),
            *dense_penalties(),
        ]

    def network(self, settings, **options):
        normalization = settings["normalization"]
        return default_network(
            self.input_shape,
            self.outputs,
            hidden_units=hidden_widths(settings, self.outputs),
            activation=settings["activation"],
            normalization=None if normalization == "none" else normalization,
            batch_norm_position=settings["batch_norm_position"],
            dropout=settings["dropout"],
            max_norm=weight_limit(settings),
            **options,
        )


def dense_shape(least_depth, most_depth):
    """Hyperparameters of the hidden layers of a dense network."""
    return [
        integer("depth", least_depth, most_depth, 2),
        choice("shape", ("conic", "rectangular")),
        integer("width", 32, 512, 300, scale="log"),
        number(
            "conic_ratio",
            0.1,
            0.9,
            1 / 3,
            bounds={"above": 0, "maximum": 1},
            parent=("shape", ("conic",)),
        ),
    ]


def dense_penalties():
    """Hyperparameters of what keeps the weights of a dense network small."""
    return [
        number("l2", 1e-6, 1e-2, 1e-6, scale="log", bounds={"minimum": 0}),
        choice("weight_limit", ("none", "max_norm")),
        number(
            "max_norm",
            1.0,
            8.0,
            3.0,
            scale="log",
            bounds={"above": 0},
            parent=("weight_limit", ("max_norm",)),
            fixes_parent=True,
        ),
    ]


def hidden_widths(settings, outputs):
    """The width of each hidden layer.

    Conic ones fall geometrically from `width` to `width`·`conic_ratio`, but not below the number
    of outputs and not below 8, unless `width` is.
    """
    depth, width = settings["depth"], settings["width"]
    if settings["shape"] == "rectangular":
        return (width,) * depth
    least = min(width, max(outputs, 8))
    shares = [settings["conic_ratio"] ** (layer / max(depth - 1, 1)) for layer in range(depth)]
    return tuple(max(least, round(width * share)) for share in shares)


def weight_limit(settings):
    """The max-norm of the hidden layers, or None."""
    return settings["max_norm"] if settings["weight_limit"] == "max_norm" else None
