"""Which masks a saved file would lose, for a layer around does not tell of them."""

import warnings

import keras
import numpy as np

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.models.pruning.kernels import maskable_of


def lost_masks(model, paths):
    """The paths, of those given, whose masks are not in the configuration of a model.

    A file has a model's masks in its configuration. For a moment each weight gets a small mask of
    its own, which is looked for there: nothing is copied, however large the model, and nothing
    changes. All are lost where there is no configuration, as of many subclassed models.

    Args:
        model: A built `keras.Model`.
        paths: Paths of weights, as of `kernels_of`.
    """
    weights = maskable_of(model)
    probes = {path: _probe(number) for number, path in enumerate(paths)}
    own = []
    try:
        for path, probe in probes.items():
            layer, name = weights[path].layer, weights[path].constraint_attribute
            own.append((layer, name, getattr(layer, name)))
            setattr(layer, name, probe)
        told = _strings_of_config(model)
    finally:
        for layer, name, constraint in own:
            setattr(layer, name, constraint)
    return [path for path, probe in probes.items() if _text(probe) not in told]


def _probe(number):
    # Behind a pattern that no mask of a small bias has.
    bits = "1110010" * 5 + f"{number:032b}"
    return FixedMask(np.array([bit == "1" for bit in bits]))


def _text(probe):
    return probe.get_config()["mask"]["bits"]


def _strings_of_config(model):
    try:
        with warnings.catch_warnings():
            # Lambdas warn; saving is another matter.
            warnings.simplefilter("ignore")
            config = keras.saving.serialize_keras_object(model.get_config())
        return {leaf for leaf in keras.tree.flatten(config) if isinstance(leaf, str)}
    except Exception:  # of whatever kind a configuration of one's own raises
        return set()
