"""The masks of a model: read, put on, and put on anew, with what depends on them."""

import collections.abc

import numpy as np
from keras import ops

from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.models.pruning.kernels import maskable_of
from keras_deeptricks.utils.backend import bring_weights_home
from keras_deeptricks.utils.compiled_step import rebuild_train_function, single_optimizers

# What Keras names the moving average of a weight, behind the path of that.
_AVERAGE = "average"


def masks_of(model):
    """The masks of a pruned model.

    Args:
        model: A built `keras.Model`.

    Returns:
        A dictionary from the path of a weight, such as `"dense/kernel"`, to its mask, True where
        it is not pruned. Weights without a `FixedMask` are not in it.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built.

    Example:

    ```python
    import keras
    from keras_deeptricks.models.pruning import masks_of, prune, weight_magnitude

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert masks_of(model) == {}
    (mask,) = masks_of(prune(model, weight_magnitude, fraction=0.25)).values()
    assert mask.sum() == 6
    ```
    """
    weights = maskable_of(model).items()
    return {path: weight.mask for path, weight in weights if weight.mask is not None}


def apply_masks(model):
    """Sets the pruned entries of a model's weights to zero now, in place.

    After each training step they are zero anyway. Use this after `set_weights` or `load_weights`
    of weights that are not pruned, such as the initial ones, and after training with an optimizer
    that has `use_ema=True`: at the end of `fit` it puts averages in, past all constraints. The
    averages themselves become zero there too.

    Args:
        model: A built `keras.Model`.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import apply_masks, prune, weight_magnitude

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    initial = model.get_weights()
    pruned = prune(model, weight_magnitude, fraction=0.5)
    pruned.set_weights(initial)  # as for a lottery ticket
    apply_masks(pruned)
    assert np.count_nonzero(pruned.get_weights()[0]) == 4
    ```
    """
    masked = {w.place: w for w in maskable_of(model).values() if w.mask is not None}
    bring_weights_home(model)
    for weight in masked.values():
        _keep(weight.variable, weight.mask)
    for slot, kind, place in _slots(model, averages_only=True):
        if kind == _AVERAGE and place in masked:
            _keep(slot, masked[place].mask)


def set_masks(model, masks=None):
    """Puts masks on the weights of a model, in place, and sets what they prune to zero.

    It replaces the masks that the weights have; of those that are not named, nothing changes.
    Where a mask changes, the slots of the optimizer (momentum and the like) become zero, so that a
    weight that is free again begins at rest. The next training step is compiled anew.

    Args:
        model: A built `keras.Model`, the one that is trained, not one inside it.
        masks: A dictionary from the path of a kernel or bias to an array of its shape, True where
            it is not pruned; a mask that prunes nothing takes the `FixedMask` off. By default the
            masks are told from the weights: an entry of a kernel, or of a weight that has a mask,
            is pruned if it is exactly zero. Use that after `load_weights` of another pruned model.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: There is no weight of that path that could hold a mask, the mask has another
            shape, or `model` is not built. The model is as before.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import masks_of, set_masks

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="out")])
    model.set_weights([np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros(2)])  # pruned elsewhere
    set_masks(model)
    (mask,) = masks_of(model).values()
    assert mask.tolist() == [[True, False], [False, True]]
    ```
    """
    weights = maskable_of(model)
    bring_weights_home(model)
    masks = _masks_of_zeros(weights) if masks is None else _checked(masks, weights)
    changed = {}
    for path, mask in masks.items():
        weight = weights[path]
        changed[path] = mask != weight.keep()
        put_mask(weight, mask)
    _clear_slots(model, {weights[path].place: where for path, where in changed.items()})
    if model.compiled and any(where.any() for where in changed.values()):
        rebuild_train_function(model)


def put_mask(weight, mask):
    """Puts a mask on one weight, beside its other constraint, and its pruned entries to zero."""
    own, masked = weight.constraint, isinstance(weight.constraint, FixedMask)
    if mask.all():
        constraint = own.constraint if masked else own
    else:
        constraint = own.with_mask(mask) if masked else FixedMask(mask, own)
    if constraint is not own:
        weight.set_constraint(constraint)
    _keep(weight.variable, mask)


def _keep(variable, mask):
    value = np.array(ops.convert_to_numpy(variable))
    if (value[~mask] != 0).any():
        value[~mask] = 0
        variable.assign(value)


def _masks_of_zeros(weights):
    found = {}
    for path, weight in weights.items():
        if weight.mask is not None or weight.is_kernel:
            mask = weight.value() != 0
            if weight.mask is not None or not mask.all():
                found[path] = mask
    return found


def _checked(masks, weights):
    if not isinstance(masks, collections.abc.Mapping):
        raise TypeError(
            "`masks` must be a dictionary from the paths of weights to masks. "
            f"Received: masks={masks!r}."
        )
    found = {}
    for path, mask in masks.items():
        if path not in weights:
            raise ValueError(
                f"`masks` must be for kernels and biases of the model: {sorted(weights)}. "
                f"Received: {path!r}."
            )
        found[path] = FixedMask(mask).mask
        if found[path].shape != weights[path].shape:
            raise ValueError(
                f"`masks` must have the shapes of the weights. Received: for {path!r} of shape "
                f"{weights[path].shape} a mask of shape {found[path].shape}."
            )
    return found


def _clear_slots(model, changed):
    """Sets the optimizer's slots to zero at entries, given by the place in `model.weights`."""
    for slot, _, place in _slots(model):
        where = changed.get(place)
        if where is not None and tuple(slot.shape) == where.shape and where.any():
            _keep(slot, ~where)


def _slots(model, averages_only=False):
    """The optimizer's slots, each with its kind and its weight's place in `model.weights`.

    With `averages_only` none of optimizers that keep no moving averages of weights.
    """
    places = {id(variable): place for place, variable in enumerate(model.weights)}
    for optimizer in single_optimizers(getattr(model, "optimizer", None)):
        if optimizer is None or (averages_only and not getattr(optimizer, "use_ema", False)):
            continue
        owners = {}
        # Those it was built for: other layers may have been trainable then.
        for variable in getattr(optimizer, "_trainable_variables", ()):
            owners.setdefault(variable.path.replace("/", "_"), []).append(variable)
        # Slots of one kind of variables of one path stand in the order of the variables.
        seen = {}
        for slot in optimizer.variables:
            path = max((p for p in owners if slot.name.startswith(f"{p}_")), key=len, default=None)
            if path is None:
                continue
            number = seen[slot.name] = seen.get(slot.name, -1) + 1
            if number < len(owners[path]):
                place = places.get(id(owners[path][number]))
                yield slot, slot.name.removeprefix(f"{path}_"), place
