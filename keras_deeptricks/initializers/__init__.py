"""Initializers, the one that suits an activation, and layer-sequential unit variance."""

import importlib

from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.initializers.he_leaky import HeLeaky
from keras_deeptricks.initializers.he_maxout import HeMaxout

# At once: the function hides the module of its name.
from keras_deeptricks.initializers.lsuv import lsuv
from keras_deeptricks.initializers.sparse import Sparse

_LAZY = {"LSUVReport": "lsuv_report"}

__all__ = ["HeLeaky", "HeMaxout", "LSUVReport", "Sparse", "for_activation", "lsuv"]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__():
    return sorted([*globals(), *_LAZY])
