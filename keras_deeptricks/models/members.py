"""The members of an ensemble or an average: models, files of weights, or whole files."""

import itertools
import pathlib
import random
import tempfile

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_built, check_number
from keras_deeptricks.utils.layer_walk import walk_layers

_WEIGHTS = ".weights.h5"
_WHOLE = ".keras"


def check_sources(models, model=None):
    """Returns `models` as a list of models and paths, each of which can be read.

    Raises:
        TypeError: `models` is no list of models and paths, or `model` is no Keras model.
        ValueError: It is empty, names a model twice or one that is not built, a file is of
            another kind, or there are files of weights and no built `model` to read them into.
        FileNotFoundError: One of the files does not exist.
    """
    rule = (
        "`models` must be a list of built keras.Model objects, of weight files "
        f"('name{_WEIGHTS}') or of saved models ('name{_WHOLE}')."
    )
    if not isinstance(models, (list, tuple)):
        raise TypeError(f"{rule} Received: models={models!r}.")
    if not models:
        raise ValueError(f"{rule} Received an empty one: models={models!r}.")
    if model is not None:
        check_built("model", model)
    sources = [_check_source(source, n, rule) for n, source in enumerate(models)]
    objects = [source for source in sources if isinstance(source, keras.Model)]
    if len({id(source) for source in objects}) < len(objects):
        raise ValueError(
            "`models` must be different models: one object is in the list twice. Train them "
            "apart, beginning with keras.models.clone_model(model), or give one a larger weight."
        )
    needy = [source for source in sources if is_weights_file(source)]
    if needy and model is None:
        raise ValueError(
            f"`model` must be the model that the weights in '{needy[0]}' belong to: a file of "
            "weights has no layers. Pass it, or save whole models (.keras). Received: model=None."
        )
    return sources


def read_member(source, model=None):
    """The model that a source stands for.

    A model is that object, a saved one is read in safe mode, and a file of weights is read into a
    copy of `model`.

    Raises:
        ValueError: The file does not fit `model`, or cannot be read.
    """
    if isinstance(source, keras.Model):
        return source
    if is_weights_file(source):
        return load_into(copy_model(model), source)
    return keras.saving.load_model(source, compile=False)


def load_into(model, path):
    """Reads a file of weights into `model` and returns it."""
    try:
        model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"The weights in '{path}' cannot be read into a copy of `model` ('{model.name}'): "
            f"{error}"
        ) from error
    return model


def is_weights_file(source):
    """True for the path of a file of weights, False for a model and for a saved one."""
    return isinstance(source, pathlib.PurePath) and source.name.endswith(_WEIGHTS)


def copy_model(model):
    """A copy of a built model of any kind with the same weights, not compiled.

    The states of seed generators and the names of layers are copied too; no array is shared.
    Python's random state, which new layers draw their seeds from, is left as it is.

    Raises:
        ValueError: The model cannot be written to a file, as a subclassed one without
            `get_config`.
    """
    state = random.getstate()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"copy{_WHOLE}"
        try:
            model.save(path)
            # Its own file of a moment ago: lambda layers are no danger here.
            copy = keras.saving.load_model(path, compile=False, safe_mode=False)
        except Exception as error:
            raise ValueError(
                f"'{model.name}' cannot be copied: it cannot be saved and loaded. {error}"
            ) from error
        finally:
            random.setstate(state)
    # Files have no states of seed generators.
    copy_values(model.variables, copy.variables)
    _copy_names(model, copy)
    return copy


def _copy_names(model, copy):
    """Has layers that a subclassed model makes itself, and Keras numbers, keep their names."""
    pairs = list(itertools.zip_longest(walk_layers(model), walk_layers(copy)))
    if all(type(old) is type(new) for old, new in pairs):
        for old, new in pairs:
            if new.name != old.name:
                new.name = old.name


def copy_values(source, target):
    """Gives each variable of `target` the value of the one of `source` in its place."""
    for old, new in zip(source, target, strict=True):
        # A copy: on JAX the two would share a buffer, which a training step gives away.
        new.assign(np.array(ops.convert_to_numpy(old)))


def finalize_normalization(model):
    """Has `Normalization` layers compute with the values their variables have now."""
    for layer in walk_layers(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()


def check_member_weights(weights, count):
    """Returns `weights` as a list of floats, one for each of `count` members, or None."""
    if weights is None:
        return None
    rule = f"`weights` must be a list of {count} numbers ≥ 0, one per model, not all 0."
    if isinstance(weights, np.ndarray) and weights.ndim == 1:
        weights = weights.tolist()
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"{rule} Received: weights={weights!r}.")
    weights = [check_number("weights", weight, minimum=0) for weight in weights]
    if len(weights) != count or not sum(weights) > 0:
        raise ValueError(f"{rule} Received: weights={weights!r}.")
    return weights


def _check_source(source, place, rule):
    if isinstance(source, keras.Model):
        check_built(f"models[{place}]", source)
        return source
    if not isinstance(source, (str, pathlib.PurePath)):
        raise TypeError(f"{rule} Received: models[{place}]={source!r}.")
    path = pathlib.Path(source)
    if not path.name.endswith((_WEIGHTS, _WHOLE)):
        raise ValueError(f"{rule} Received: models[{place}]='{path}'.")
    if not path.is_file():
        raise FileNotFoundError(f"`models` names a file that does not exist: '{path}'.")
    return path
