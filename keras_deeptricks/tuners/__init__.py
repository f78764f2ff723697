"""Searches for good settings with Keras Tuner: spaces, tuners, results."""

import importlib

_WHERE = {
    "CoarseToFine": "coarse_to_fine",
    "CoarseToFineOracle": "coarse_to_fine",
    "DefaultConfigHyperModel": "default_config_hypermodel",
    "ResidualHyperModel": "residual_hypermodel",
    "SearchResult": "search_result",
    "SelfNormalizingHyperModel": "self_normalizing_hypermodel",
    "search": "hyperparameter_search",
}

__all__ = [
    "CoarseToFine",
    "CoarseToFineOracle",
    "DefaultConfigHyperModel",
    "ResidualHyperModel",
    "SearchResult",
    "SelfNormalizingHyperModel",
    "search",
]


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "keras_tuner":
            raise ImportError(
                "Searches need Keras Tuner: pip install 'keras_deeptricks[tuner]'."
            ) from error
        raise


def __dir__():
    return sorted([*globals(), *_WHERE])
