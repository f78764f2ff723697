"""Pruning a model: the weights, or whole units, of the lowest saliency become zero for good."""

import inspect
import warnings

import keras
import numpy as np

from keras_deeptricks.models.flat_calls import FlatCalls
from keras_deeptricks.models.members import copy_model
from keras_deeptricks.models.pruning.kernels import kernels_of, maskable_of
from keras_deeptricks.models.pruning.masks import masks_of, put_mask
from keras_deeptricks.models.pruning.prunable import Prunable
from keras_deeptricks.models.pruning.prune_arguments import (
    check_amount,
    check_exclude,
)
from keras_deeptricks.models.pruning.sparsity_report import sparsity
from keras_deeptricks.utils.checks import check_built, check_choice, check_flag
from keras_deeptricks.utils.compiled_step import clone_optimizer, unwrap_optimizer
from keras_deeptricks.utils.rewriting import has_graph


def prune(model, saliency, fraction=None, threshold=None, scope="global", exclude=(), report=False):
    """A copy of a model in which the weights of the lowest saliency are zero, and stay it.

    Every pruned weight gets a `keras_deeptricks.constraints.FixedMask`, beside the constraint it
    has: however the copy is trained on, saved and loaded, what is pruned stays exactly zero.
    Pruning again adds to the masks. With the saliency of units (`incoming_weight_norm`,
    `mean_activation`, `active_share`) whole neurons or filters are pruned: all incoming weights,
    the bias, and scale and shift of a batch norm behind. What is left of one is its activation's
    f(0): nothing for ReLU, ELU or tanh, a constant 0.5 for a sigmoid. Units that are outputs of the
    model are left alone. In a subclassed model, whose graph is not known, name their layer in
    `exclude`; batch norms behind are not found there.

    Zeros alone save nothing but room in compressed files: `shrink` then makes the model smaller.
    Left alone, and not counted, are attention layers and `Bidirectional`, which cannot keep a mask
    for each weight inside, biases and normalizations. Blocks of this library that are pruned, such
    as `ResidualBlock`, stand in the copy as the layers they are made of, with their names. Of
    layers of one's own that hold others inside, and of subclassed models, files keep the zeros but
    not the masks: a warning names `set_masks`, which tells the masks from the zeros after loading.

    Args:
        model: A built `keras.Model` that can be saved. It is left as it is.
        saliency: What a function of this package returned for the model: a dictionary from the
            paths of kernels to arrays, one value for each weight or for each unit. Or such a
            function itself, of the model alone, such as `weight_magnitude`, or the name of one:
            `"weight_magnitude"` or `"incoming_weight_norm"`. Kernels that are not in it are left
            alone.
        fraction: The share of the weights (or units) of the kernels meant that is pruned
            afterwards, from 0 to 1, those that were pruned before included; the exact number, by
            rounding. Of equal saliencies the first go.
        threshold: In place of `fraction`: whatever has a saliency below it is pruned.
        scope: `"global"` to compare all kernels, `"layer"` to prune the share of each. Defaults to
            `"global"`.
        exclude: Layers, names of layers, or paths of kernels to leave alone: a list, or one of
            them. Of a layer with others inside all of them.
        report: Whether to return a report as well. Defaults to `False`.

    Returns:
        A `keras.Model`; with `report` the pair of it and a `SparsityReport`. If the given one is
        compiled it is compiled alike, with a new optimizer of the same configuration: the slots of
        the old one are not taken over. Where the loss or a metric cannot be made from its
        configuration, it is not compiled, and a warning says so. Another warning names kernels of
        which nothing is left.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, does not fit the model, or holds NaN; or
            `model` is not built or cannot be saved.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import prune, weight_magnitude

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.set_weights([np.array([[1.0, -0.1], [0.2, -3.0]]), np.zeros(2)])
    pruned = prune(model, weight_magnitude, fraction=0.5)
    pruned.fit(np.ones((8, 2)), np.ones((8, 2)), verbose=0)
    assert (pruned.get_weights()[0] != 0).tolist() == [[True, False], [False, True]]
    ```

    Reference: LeCun, Denker & Solla, Optimal brain damage, 1990, section 2; Han, Pool, Tran &
    Dally, Learning both weights and connections for efficient neural networks, 2015, section 3.
    """
    check_built("model", model)
    check_flag("report", report)
    check_choice("scope", scope, ("global", "layer"))
    fraction, threshold = check_amount(fraction, threshold)
    excluded = check_exclude(exclude, model)
    masks = Prunable.of(model, saliency, excluded).masks(scope, fraction, threshold)
    _warn_of_nothing_left(model, masks)
    pruned = _with_masks(model, masks)
    _compile_alike(model, pruned)
    return (pruned, sparsity(pruned, before=model)) if report else pruned


def _with_masks(model, masks):
    """A copy of the model with these masks, in its configuration too where it can tell them."""
    marked = copy_model(model)
    _put(marked, model, {**masks_of(model), **masks})
    # Made of its configuration, as after loading.
    pruned = copy_model(marked)
    lost = _lost(marked, pruned)
    if lost and has_graph(model):
        # Of the layers that blocks are made of: these tell their constraints.
        plain = FlatCalls(marked).rebuild(lambda call, tensor_of: call.again(tensor_of))
        inside = {id(variable) for variable in plain.weights}
        weights = maskable_of(marked).items()
        gone = [path for path, w in weights if w.mask is not None and id(w.variable) not in inside]
        if not gone and not _lost(plain, copy_model(plain)):
            return copy_model(plain)
    if lost:
        warnings.warn(
            f"Files of the copy of '{model.name}' keep the zeros but not the masks of {lost}, for "
            "the configuration of a layer around does not tell their constraints. After loading "
            "call keras_deeptricks.models.pruning.set_masks(loaded).",
            stacklevel=3,
        )
        return marked
    return pruned


def _lost(first, second):
    """The paths of the weights whose masks are not the same in a model and its copy."""
    pairs = zip(maskable_of(first).items(), maskable_of(second).values(), strict=True)
    return [path for (path, there), here in pairs if np.any(there.keep() != here.keep())]


def _put(copy, model, masks):
    """Puts masks on a copy of a model whose paths they have."""
    places = {path: weight.place for path, weight in maskable_of(model).items()}
    weights = {weight.place: weight for weight in maskable_of(copy).values()}
    for path, mask in masks.items():
        put_mask(weights[places[path]], mask)


def _warn_of_nothing_left(model, masks):
    before = masks_of(model)
    kernels = [path for path in masks if path in kernels_of(model)]
    empty = [p for p in kernels if not masks[p].any() and (p not in before or before[p].any())]
    if empty:
        warnings.warn(
            f"Nothing is left of {empty}: what is behind gets nothing of the inputs. Prune less, "
            'or the share of each layer (scope="layer"), or put them in `exclude`.',
            stacklevel=3,
        )


def _compile_alike(model, pruned):
    config = model.get_compile_config() if model.compiled else None
    if not config:
        return
    optimizer = model.optimizer
    losses = [loss for loss in keras.tree.flatten(model.loss) if inspect.isfunction(loss)]
    try:
        # Functions of one's own are known here; they hold no state.
        with keras.saving.custom_object_scope({loss.__name__: loss for loss in losses}):
            arguments = keras.saving.deserialize_keras_object(config, safe_mode=False)
        if optimizer is not None:
            arguments["optimizer"] = clone_optimizer(optimizer)
        pruned.compile(**arguments)
        if optimizer is not None:
            # As after loading: saved without its variables it would load with a warning.
            pruned.optimizer.build(pruned.trainable_variables)
    except Exception as error:
        warnings.warn(
            f"The copy of '{model.name}' is not compiled, for its loss, metrics or optimizer "
            f"cannot be made from their configurations: {error} Call compile() on it.",
            stacklevel=3,
        )
        return
    if optimizer is not None and getattr(unwrap_optimizer(optimizer), "use_ema", False):
        warnings.warn(
            "The optimizer has use_ema=True: at the end of fit it puts averages in, past all "
            "constraints. Call keras_deeptricks.models.pruning.apply_masks(model) then.",
            stacklevel=3,
        )
