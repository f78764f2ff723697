"""The search space of residual and densely connected networks."""

import keras

from keras_deeptricks.assembly.densenet import densenet
from keras_deeptricks.assembly.residual_networks import resnet, wide_resnet
from keras_deeptricks.tuners.recipe_hypermodel import RecipeHyperModel
from keras_deeptricks.tuners.space import choice, flag, integer, number


class ResidualHyperModel(RecipeHyperModel):
    """Residual networks for small images, for every tuner of Keras Tuner.

    | hyperparameter | by default | applies |
    |---|---|---|
    | `network` | `"resnet"`, `"wide_resnet"`, `"densenet"` | |
    | `blocks` in each of the three stages | 1…5 | |
    | `filters` of the first stage | 8…32, log | resnet |
    | `kind` of the blocks | `"basic"`, `"bottleneck"` | resnet |
    | `pre_activation` | False, True | resnet |
    | `widen`: factor of the channels | 1…6 | wide_resnet |
    | `growth`: channels of each unit | 6…24 | densenet |
    | `stochastic_depth`: survival of the last block | 0.5…1 | resnet, wide_resnet |
    | `dropout` | 0…0.3 | |
    | `l2` | 1e-6…1e-3, log | |

    and those of the training in `keras_deeptricks.tuners.DefaultConfigHyperModel`, from
    `optimizer` on. With n blocks in a stage the depth is 6n + 2 (resnet; 9n + 2 with bottlenecks)
    or 6n + 4 (the others).

    Args:
        input_shape: `(height, width)` or `(height, width, channels)`.
        outputs, task, space, adapt_to, adapt_targets_to, epochs, precision, seed, name: As in
            `keras_deeptricks.tuners.DefaultConfigHyperModel`.
        augmentation: As in `keras_deeptricks.recipes.resnet`; each network gets new layers of
            the same configuration.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `space` names no hyperparameter.

    Example:

    ```python
    import keras_tuner
    from keras_deeptricks.tuners import ResidualHyperModel

    hypermodel = ResidualHyperModel((8, 8), 3, space={"network": "resnet", "blocks": 1})
    model = hypermodel.build(keras_tuner.HyperParameters())
    assert model.name == "resnet"
    ```

    Reference: He et al., 2015; Zagoruyko & Komodakis, 2016; Huang et al., 2017, as in
    `keras_deeptricks.recipes.resnet`, `wide_resnet` and `densenet`.
    """

    def __init__(self, *arguments, augmentation=(), **options):
        layers = [augmentation] if isinstance(augmentation, keras.Layer) else augmentation
        if not all(isinstance(layer, keras.Layer) for layer in layers):
            raise TypeError(
                "`augmentation` must be a list of Keras layers. "
                f"Received: augmentation={augmentation!r}."
            )
        # Layers of one network cannot be those of another, nor be copied.
        self._augmentation = [(type(layer), layer.get_config()) for layer in layers]
        super().__init__(*arguments, **options)

    def network_hyperparameters(self):
        only_resnet = {"parent": ("network", ("resnet",))}
        return [
            choice("network", ("resnet", "wide_resnet", "densenet")),
            integer("blocks", 1, 5, 3),
            integer("filters", 8, 32, 16, scale="log", **only_resnet),
            choice("kind", ("basic", "bottleneck"), **only_resnet),
            flag("pre_activation", **only_resnet),
            integer("widen", 1, 6, 4, parent=("network", ("wide_resnet",))),
            integer("growth", 6, 24, 12, parent=("network", ("densenet",))),
            number(
                "stochastic_depth",
                0.5,
                1.0,
                1.0,
                bounds={"minimum": 0, "maximum": 1},
                parent=("network", ("resnet", "wide_resnet")),
            ),
            number("dropout", 0.0, 0.3, 0.0, bounds={"minimum": 0, "below": 1}),
            number("l2", 1e-6, 1e-3, 5e-5, scale="log", bounds={"minimum": 0}),
        ]

    def network(self, settings, **options):
        make, own = _NETWORKS[settings["network"]](settings)
        return make(
            self.input_shape,
            self.outputs,
            dropout=settings["dropout"],
            augmentation=[kind.from_config(config) for kind, config in self._augmentation],
            **own,
            **options,
        )


def _resnet(settings):
    per_block = 6 if settings["kind"] == "basic" else 9
    return resnet, {
        "depth": per_block * settings["blocks"] + 2,
        "filters": settings["filters"],
        "kind": settings["kind"],
        "pre_activation": settings["pre_activation"],
        "stochastic_depth": _survival(settings),
    }


def _wide_resnet(settings):
    return wide_resnet, {
        "depth": 6 * settings["blocks"] + 4,
        "widen": settings["widen"],
        "stochastic_depth": _survival(settings),
    }


def _densenet(settings):
    return densenet, {"depth": 6 * settings["blocks"] + 4, "growth": settings["growth"]}


_NETWORKS = {"resnet": _resnet, "wide_resnet": _wide_resnet, "densenet": _densenet}


def _survival(settings):
    survival = settings["stochastic_depth"]
    return None if survival == 1 else survival
