"""An optimizer that trains a changing part of its variables and keeps the slots of the rest."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_deeptricks.optimizers.gradient_transform import GradientTransform, transformed_class
from keras_deeptricks.utils.compiled_step import (
    clone_optimizer,
    is_multi_optimizer,
    state_variables,
    unwrap_optimizer,
)


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class PartialTraining(GradientTransform):
    """Lets variables be frozen and thawed during training; `models.freeze` puts it in place.

    Keras' optimizers keep to the variables they were built for: on JAX they refuse gradients for
    some of them only, and when a model is loaded they are built for what is trainable then. This
    one takes gradients for any part of its variables, leaves the slots of the others bit for bit
    as they are, and keeps them in a file, so that a layer unfrozen after loading goes on with its
    momentum.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that was not trained with yet. It is copied.
        layout: What a file says of the variables and slots, also of those that are frozen; None
            for a new optimizer.

    Raises:
        TypeError: `optimizer` is no optimizer.
        ValueError: it is trained already, a `LossScaleOptimizer` or a `MultiOptimizer`.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    optimizer = kdt.optimizers.PartialTraining(keras.optimizers.Adam(1e-3))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    kdt.models.freeze(model, model.layers[0])
    ```
    """

    def __init__(self, optimizer, layout=None):
        self._begin(layout)

    def _begin(self, layout=None):
        # Past Keras' attribute tracking, as all that tells of variables.
        set_plainly(self, layout=layout, slot_owners={}, slot_order=None, part_of_model=None)

    def transform_config(self):
        if not self.built or self.slot_order is not None:
            return {"layout": self.layout}
        slots = [
            [
                self.slot_owners.get(id(v), -1),
                list(v.shape),
                keras.backend.standardize_dtype(v.dtype),
            ]
            for v in self.variables
        ]
        return {
            "layout": {
                "paths": [variable.path for variable in self._trainable_variables],
                "active": [bool(variable.trainable) for variable in self._trainable_variables],
                "slots": slots,
            }
        }

    @property
    def variables(self):
        variables = super().variables
        if self.slot_order is None:
            return variables
        # As in the file, in which the slots of frozen weights stand between the others.
        place = {key: place for place, key in enumerate(self.slot_order)}
        return sorted(variables, key=lambda v: place.get(id(v), len(place)))

    def build(self, variables):
        if self.built:
            return
        set_plainly(self, places={id(variable): place for place, variable in enumerate(variables)})
        active = []
        if self.layout is not None and len(variables) < len(self.layout["active"]):
            active = [place for place, on in enumerate(self.layout["active"]) if on]
        partial = len(active) == len(variables)
        # The transforms inside ask for it while they are built.
        set_plainly(self, part_of_model=(self.layout["paths"], active) if partial else None)
        super().build(_Watched(variables, self._variables, self.slot_owners))
        if partial:
            self._add_frozen_slots(active)

    def _add_frozen_slots(self, active):
        """Makes room for the slots of frozen weights that stand in the file."""
        for key, owner in self.slot_owners.items():
            self.slot_owners[key] = active[owner]
        waiting = {}
        for variable in super().variables:
            waiting.setdefault(self.slot_owners.get(id(variable), -1), []).append(variable)
        order = []
        for owner, shape, dtype in self.layout["slots"]:
            if owner >= 0 and owner not in active:
                slot = self.add_variable(shape, dtype=dtype, name="frozen_slot")
                self.slot_owners[id(slot)] = owner
                order.append(id(slot))
            elif waiting.get(owner):
                order.append(id(waiting[owner].pop(0)))
        set_plainly(self, slot_order=order)

    def add_variable_from_reference(self, reference_variable, *args, **kwargs):
        slot = super().add_variable_from_reference(reference_variable, *args, **kwargs)
        self.slot_owners[id(slot)] = self.places[id(reference_variable)]
        return slot

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None or not self.built:
            super().apply(grads, trainable_variables)
            return
        trainable_variables = list(trainable_variables)
        with self._limited_to(trainable_variables):
            super().apply(grads, trainable_variables)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        if len(trainable_variables) == len(self._trainable_variables):
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        active = [variable for variable in self._trainable_variables if variable.trainable]
        mapping = [
            *zip(active, trainable_variables, strict=True),
            *zip(self.variables, optimizer_variables, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.apply(grads, active)
        return (
            [scope.get_current_value(variable) for variable in active],
            [scope.get_current_value(variable) for variable in self.variables],
        )

    def finalize_variable_values(self, var_list):
        with self._limited_to(list(var_list)):
            super().finalize_variable_values(var_list)

    def _backend_reset_gradient_accumulators(self):
        # Keras empties all of them; within a step `_trainable_variables` are those it trains.
        whole = self._accumulated_gradients
        places = [self._get_variable_index(variable) for variable in self._trainable_variables]
        try:
            set_plainly(self, _accumulated_gradients=[whole[place] for place in places])
            super()._backend_reset_gradient_accumulators()
        finally:
            set_plainly(self, _accumulated_gradients=whole)

    def start_averages(self, variables):
        """Begins the moving averages of weights that have none yet at the weights.

        Keras does it in the very first step only. Later they would begin at 0, and when `fit`
        ends the weights become their averages.
        """
        for variable in variables if self.use_ema else ():
            average = self._model_variables_moving_average[self._get_variable_index(variable)]
            if average is not None and not np.any(ops.convert_to_numpy(average)):
                average.assign(np.array(ops.convert_to_numpy(variable)))

    @contextlib.contextmanager
    def _limited_to(self, variables):
        """Hides the other variables from Keras' moving averages of weights."""
        names = ("_trainable_variables", "_model_variables_moving_average")
        whole = {name: getattr(self, name) for name in names if hasattr(self, name)}
        places = [self._get_variable_index(variable) for variable in variables]
        try:
            for name, values in whole.items():
                set_plainly(self, **{name: [values[place] for place in places]})
            yield
        finally:
            set_plainly(self, **whole)

    def slots_by_owner(self, variables):
        """The slots by the place of their variable in `variables`, −1 for the optimizer's own.

        Args:
            variables: All variables of the model that can be trained, in order.
        """
        mine = list(range(len(variables)))
        if self.slot_order is None or len(self.layout["active"]) != len(variables):
            place_of = {id(variable): place for place, variable in enumerate(variables)}
            mine = [place_of.get(id(variable)) for variable in self._trainable_variables]
        owned = {}
        for slot in state_variables(self):
            owner = self.slot_owners.get(id(slot), -1)
            owned.setdefault(owner if owner < 0 else mine[owner], []).append(slot)
        return owned


def enable_partial_training(optimizer, variables):
    """Makes a live optimizer, in place, train any part of `variables` without losing a slot.

    Args:
        optimizer: A model's optimizer, built or not, inside a `LossScaleOptimizer` or not.
        variables: All variables of the model that can be trained, frozen ones too.

    Raises:
        ValueError: it is a `MultiOptimizer`, or cannot be copied by its configuration.
    """
    inner = unwrap_optimizer(optimizer)
    if is_multi_optimizer(inner):
        raise ValueError(
            "A MultiOptimizer cannot train a part of its variables. Compile with a single "
            "optimizer; keras_deeptricks.optimizers.LayerwiseLearningRates gives layers rates of "
            "their own."
        )
    if isinstance(inner, PartialTraining) and _knows(inner, variables):
        return
    if not inner.built:
        if not isinstance(inner, PartialTraining):
            _turn(inner)
        optimizer.build(variables)
        return
    new = clone_optimizer(inner)
    if not isinstance(inner, PartialTraining):
        twin = PartialTraining(new)
        twin.build(inner._trainable_variables)
        _turn(inner)
        for slot, its_like in zip(state_variables(inner), state_variables(twin), strict=True):
            if id(its_like) in twin.slot_owners:
                inner.slot_owners[id(slot)] = twin.slot_owners[id(its_like)]
        if _knows(inner, variables):
            return
        new = PartialTraining(new)
    new.build(variables)
    mine = new.slots_by_owner(variables)
    for owner, slots in inner.slots_by_owner(variables).items():
        if owner is None or len(slots) != len(mine[owner]):
            raise ValueError(
                f"The slots of {type(inner).__name__} cannot be told apart by variable. Call "
                "keras_deeptricks.models.freeze before the first training, while nothing is frozen."
            )
        for slot, value in zip(mine[owner], slots, strict=True):
            slot.assign(np.array(ops.convert_to_numpy(value)))
    # The same object, for it is known to callbacks and to whoever compiled with it.
    object.__setattr__(inner, "__class__", type(new))
    vars(inner).clear()
    vars(inner).update(vars(new))
    if inner is not optimizer:
        # The LossScaleOptimizer around it pairs gradients with these.
        set_plainly(optimizer, _trainable_variables=list(variables))


def set_plainly(optimizer, **attributes):
    """Sets attributes past Keras' tracking, which takes over variables and wraps containers."""
    for name, value in attributes.items():
        object.__setattr__(optimizer, name, value)


def _turn(optimizer):
    object.__setattr__(optimizer, "__class__", transformed_class(PartialTraining, type(optimizer)))
    optimizer._begin()


def _knows(optimizer, variables):
    """True if it was built for all of them; it may have been for others, now frozen one by one."""
    return {id(variable) for variable in variables} <= set(map(id, optimizer._trainable_variables))


class _Watched(list):
    """Variables in a loop over which slots are made, also without telling for which (Adafactor)."""

    def __init__(self, variables, slots, owners):
        super().__init__(variables)
        self.slots = slots
        self.owners = owners

    def __iter__(self):
        for place, variable in enumerate(super().__iter__()):
            before = len(self.slots)
            yield variable
            for slot in self.slots[before:]:
                self.owners.setdefault(id(slot), place)
