"""The search space around a self-normalizing network."""

from keras_deeptricks.assembly.dense_networks import self_normalizing_network
from keras_deeptricks.tuners.default_config_hypermodel import (
    dense_penalties,
    dense_shape,
    hidden_widths,
    weight_limit,
)
from keras_deeptricks.tuners.recipe_hypermodel import RecipeHyperModel
from keras_deeptricks.tuners.space import number


class SelfNormalizingHyperModel(RecipeHyperModel):
    """Self-normalizing networks, deeper than the default ones, for every tuner of Keras Tuner.

    Use it for tables, where deep plain stacks may help. SELU, LeCun initialization and the
    absence of batch norm are what the network is, and not searched. The hyperparameters are
    those of `keras_deeptricks.tuners.DefaultConfigHyperModel` without activation, normalization
    and dropout, and with

    | hyperparameter | by default |
    |---|---|
    | `depth`: hidden layers | 1…16 |
    | `alpha_dropout` | 0…0.2 |

    The l2 penalty and max-norm bend self-normalization: with `space={"l2": 0.0, "weight_limit":
    "none"}` a search goes without.

    Args:
        input_shape, outputs, task, space, adapt_to, adapt_targets_to, epochs, precision, seed,
        name: As in `keras_deeptricks.tuners.DefaultConfigHyperModel`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `space` names no hyperparameter.

    Example:

    ```python
    import keras_tuner
    from keras_deeptricks.tuners import SelfNormalizingHyperModel

    hypermodel = SelfNormalizingHyperModel((8,), 3, space={"depth": (8, 12), "width": 16})
    model = hypermodel.build(keras_tuner.HyperParameters())
    assert model.output_shape == (None, 3)
    ```

    Reference: Klambauer, Unterthiner, Mayr & Hochreiter, Self-normalizing neural networks, 2017,
    section 4.
    """

    def network_hyperparameters(self):
        return [
            *dense_shape(1, 16),
            number("alpha_dropout", 0.0, 0.2, 0.1, bounds={"minimum": 0, "below": 1}),
            *dense_penalties(),
        ]

    def network(self, settings, **options):
        return self_normalizing_network(
            self.input_shape,
            self.outputs,
            hidden_units=hidden_widths(settings, self.outputs),
            alpha_dropout=settings["alpha_dropout"],
            max_norm=weight_limit(settings),
            **options,
        )
