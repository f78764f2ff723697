"""Every technique for training deep networks, as plain Keras 3 objects and ready-made recipes."""

import importlib

# Imported at once, so that what they register is known when a saved model is loaded.
from keras_deeptricks import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    models,
    optimizers,
    schedules,
)
from keras_deeptricks.version import __version__

_LAZY = ("callbacks", "datasets", "diagnostics", "recipes", "tuners", "visualization")

__all__ = [
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "datasets",
    "diagnostics",
    "initializers",
    "layers",
    "losses",
    "models",
    "optimizers",
    "recipes",
    "schedules",
    "tuners",
    "visualization",
]


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__():
    return sorted([*globals(), *_LAZY])
