"""The default configuration, trick by trick, for `keras_deeptricks.diagnostics.ablate`."""

import dataclasses
import math

import keras
import numpy as np

from keras_deeptricks.assembly.parts import Seeds, assemble, regularizer
from keras_deeptricks.assembly.targets import understand_targets
from keras_deeptricks.assembly.training_data import check_inputs
from keras_deeptricks.callbacks import EarlyStopping, OneCycle
from keras_deeptricks.diagnostics.learning_rate_search import find_learning_rate
from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.optimizers import SGD, Adam
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

# Constant rates where there is no cycle.
_LEARNING_RATES = {"adam": 3e-4, "momentum": 0.02}
_MOMENTUM = 0.9
_CYCLED_MOMENTUM = (0.95, 0.85)
# The rate counts as come down when it is a tenth of its peak.
_COME_DOWN = 0.1
# Dropout masks begin this far from the initial weights in the numbering of seeds.
_MASKS = 500
# What a trick that is not in the settings has in the default configuration.
_DEFAULTS = {
    "standardization": True,
    "initializer": "by_activation",
    "activation": "elu",
    "batch_norm": True,
    "optimizer": "momentum",
    "one_cycle": True,
    "early_stopping": True,
    "l2": 0.0,
    "dropout": 0.0,
}


def default_toggles(l2=1e-4, dropout=0.2):
    """The tricks of the default configuration as toggles, with l2 penalty and dropout.

    | toggle | plain baseline | default configuration |
    |---|---|---|
    | `standardization` | raw inputs | standardized inside the model |
    | `initializer` | `"glorot_uniform"` | `"by_activation"`: He for ELU and ReLU |
    | `activation` | `"relu"` | `"elu"` |
    | `batch_norm` | no | yes, before the activations |
    | `optimizer` | `"adam"` at 3e-4 | `"momentum"`: Nesterov 0.9 at 0.02 |
    | `one_cycle` | constant rate | 1cycle up to the rate of a range test |
    | `early_stopping` | last epoch | best epoch |
    | `l2` | 0 | `l2` |
    | `dropout` | 0 | `dropout` |

    Delete those that you do not ask about: `DefaultConfiguration` then has them as in the default
    configuration, which is without l2 penalty and dropout.

    Args:
        l2: Strength of the penalty where it is on, above 0. Defaults to `1e-4`.
        dropout: Rate of dropout where it is on, above 0 and below 1. Defaults to `0.2`.

    Returns:
        A dictionary for the argument `toggles` of `keras_deeptricks.diagnostics.ablate`.

    Raises:
        TypeError, ValueError: An argument is no number or out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    toggles = kdt.recipes.default_toggles()
    assert toggles["activation"] == ("relu", "elu")
    ```

    Reference: Géron, Hands-on machine learning, 2nd ed., chapter 11, "Summary and practical
    guidelines"; Karpathy, A recipe for training neural networks, 2019 (the plain baseline).
    """
    return {
        "standardization": (False, True),
        "initializer": ("glorot_uniform", "by_activation"),
        "activation": ("relu", "elu"),
        "batch_norm": (False, True),
        "optimizer": ("adam", "momentum"),
        "one_cycle": (False, True),
        "early_stopping": (False, True),
        "l2": (0.0, check_number("l2", l2, above=0)),
        "dropout": (0.0, check_number("dropout", dropout, above=0, below=1)),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class DefaultConfiguration:
    """Builds the default configuration with some of its tricks left out, to be ablated.

    An object of it is the argument `build` of `keras_deeptricks.diagnostics.ablate`, with the
    toggles of `default_toggles`. With the same seed all configurations have the same random
    numbers: those of initial weights by layer and distribution, dropout masks, order of the rows.

    Attributes:
        x: Training inputs, an array as for `train_default`: tables or images.
        y: Training targets as the loss takes them: classes 0, 1, 2, …, or numbers.
        stopping_data: Pair (x, y) of rows by which early stopping goes. By default those that
            score, which flatters it a little.
        hidden_units: Width of each hidden layer. Defaults to `(100, 100, 100)`: from three layers
            on the default configuration has batch norm.
        task: `"classification"`, `"binary"`, `"multilabel"` or `"regression"`; by default told
            from `y`. Targets of a regression are always standardized.
        epochs: Number of epochs, which the cycle spans. Defaults to `20`.
        batch_size: Rows per step. Defaults to `32`.

    Raises:
        TypeError: An attribute is of the wrong type.
        ValueError: An attribute is out of its range, or the classes are not 0, 1, 2, …

    Example:

    ```python
    from sklearn.datasets import load_breast_cancer
    import keras_deeptricks as kdt

    x, y = load_breast_cancer(return_X_y=True)
    toggles = kdt.recipes.default_toggles()
    build = kdt.recipes.DefaultConfiguration(x[:400], y[:400], hidden_units=(20,), epochs=3)
    result = kdt.diagnostics.ablate(
        build,
        (x[:400], y[:400], x[400:], y[400:]),
        {"standardization": toggles["standardization"]},
        seeds=2,
    )
    assert result.effects["removed"]["standardization"].mean > 0
    ```

    Reference: Géron, Hands-on machine learning, 2nd ed., chapter 11, "Summary and practical
    guidelines".
    """

    x: np.ndarray
    y: np.ndarray
    stopping_data: tuple | None = None
    hidden_units: tuple = (100, 100, 100)
    task: str | None = None
    epochs: int = 20
    batch_size: int = 32

    def __post_init__(self):
        units = self.hidden_units
        units = (units,) if isinstance(units, int) else tuple(units)
        checked = {
            "x": check_inputs(self.x, "x"),
            "hidden_units": tuple(check_integer("hidden_units", w, minimum=1) for w in units),
            "epochs": check_integer("epochs", self.epochs, minimum=1),
            "batch_size": check_integer("batch_size", self.batch_size, minimum=1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.stopping_data is not None and (
            not isinstance(self.stopping_data, (tuple, list)) or len(self.stopping_data) != 2
        ):
            raise TypeError("`stopping_data` must be a pair (x, y) or None.")
        targets = understand_targets(self.y, self.task)
        if targets.one_hot:
            raise ValueError("`y` is one-hot. Pass the classes: y.argmax(axis=1).")
        if targets.labels is not None and targets.labels.tolist() != [*range(len(targets.labels))]:
            raise ValueError(
                "`y` must hold the classes 0, 1, 2, … without a gap. "
                f"Received: {targets.labels[:20].tolist()}."
            )
        object.__setattr__(self, "task", targets.task)
        object.__setattr__(self, "_outputs", targets.outputs)

    def __call__(self, settings, seed):
        """The compiled model of these settings, and its options of `fit`.

        Args:
            settings: Dictionary of the values of toggles.
            seed: Whole number.

        Returns:
            A pair of a `keras.Model` and a dictionary.

        Raises:
            ValueError: A setting is not known.
        """
        for name in settings:
            check_choice("settings", name, tuple(_DEFAULTS))
        settings = {**_DEFAULTS, **settings}
        check_choice("optimizer", settings["optimizer"], tuple(_LEARNING_RATES))
        model = self._model(settings, seed)
        callbacks, minimum_epochs = [], 0
        if settings["one_cycle"]:
            search = find_learning_rate(
                model, self.x, self.y, batch_size=self.batch_size, seed=seed
            )
            steps = self._steps * self.epochs
            cycle = OneCycle(search.suggestion, momentum=_CYCLED_MOMENTUM, total_steps=steps)
            callbacks.append(cycle)
            minimum_epochs = self._epochs_until_it_has_come_down(cycle)
        if settings["early_stopping"]:
            callbacks.append(self._early_stopping(minimum_epochs))
        options = {"epochs": self.epochs, "batch_size": self.batch_size, "callbacks": callbacks}
        if self.stopping_data is not None:
            options["validation_data"] = tuple(self.stopping_data)
        return model, options

    @property
    def _steps(self):
        return math.ceil(len(self.x) / self.batch_size)

    def _model(self, settings, seed):
        weights, masks = Seeds(seed), Seeds(seed)
        masks.used = _MASKS
        rate = _LEARNING_RATES[settings["optimizer"]]
        if settings["optimizer"] == "adam":
            optimizer = Adam(rate)
        else:
            # A momentum that can be cycled is the one of the search at the peak.
            momentum = _CYCLED_MOMENTUM[1] if settings["one_cycle"] else _MOMENTUM
            optimizer = SGD(rate, momentum=momentum, nesterov=True)

        def body(tensor, policy):
            if len(tensor.shape) > 2:
                tensor = keras.layers.Flatten()(tensor)
            for width in self.hidden_units:
                tensor = _hidden(tensor, width, settings, weights, masks)
            return tensor

        return assemble(
            self.x.shape[1:],
            self._outputs,
            body,
            weights,
            name="ablated_network",
            task=self.task,
            # Not adapted it changes nothing.
            adapt_to=self.x if settings["standardization"] else None,
            adapt_targets_to=self.y if self.task == "regression" else None,
            l2=settings["l2"],
            optimizer=optimizer,
            steps_per_execution=backend.steps_per_execution_for(self._steps),
        )

    def _epochs_until_it_has_come_down(self, cycle):
        rates = cycle.factory(1000)[0].numpy_values(np.arange(1000))
        high = np.flatnonzero(rates > _COME_DOWN * rates.max()).max()
        return math.ceil(self.epochs * (high + 1) / 1000)

    def _early_stopping(self, minimum_epochs):
        by_accuracy = self.task in ("classification", "binary")
        return EarlyStopping(
            monitor="val_accuracy" if by_accuracy else "val_loss",
            mode="max" if by_accuracy else "min",
            patience=max(2, self.epochs // 4),
            keep_latest=True,
            minimum_epochs=minimum_epochs,
        )


def _hidden(tensor, width, settings, weights, masks):
    """A hidden layer as `default_network` has it, with what the settings leave of it."""
    activation, batch_norm = settings["activation"], settings["batch_norm"]
    seed = weights.next()
    if settings["initializer"] == "by_activation":
        initializer = for_activation(activation, seed=seed)
    else:
        name = settings["initializer"]
        initializer = keras.initializers.get(
            {"class_name": name, "config": {"seed": seed}} if isinstance(name, str) else name
        )
    tensor = keras.layers.Dense(
        width,
        use_bias=not batch_norm,
        kernel_initializer=initializer,
        kernel_regularizer=regularizer(settings["l2"]),
    )(tensor)
    if batch_norm:
        tensor = keras.layers.BatchNormalization()(tensor)
    tensor = keras.layers.Activation(activation)(tensor)
    if settings["dropout"]:
        tensor = keras.layers.Dropout(settings["dropout"], seed=masks.next())(tensor)
    return tensor
