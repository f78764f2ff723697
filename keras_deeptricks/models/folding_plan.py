"""The decision which batch norms of a graph are folded into which layers."""

import keras

from keras_deeptricks.models.folding_paths import cross, first_pattern
from keras_deeptricks.models.folding_rules import target_of
from keras_deeptricks.models.folding_target import NotFoldable
from keras_deeptricks.utils.layer_walk import walk_layers

# A batch norm whose input lies further from 0, in deviations, is not moved behind a kernel: there
# the mean is subtracted after a rounded sum, which costs this factor in accuracy: at 30 still less
# than 1e-5 of the largest prediction in float32.
_FARTHEST = 30.0
_OUTPUT = object()


class FoldingPlan:
    """Folds what can be folded, in numbers; the graph is only read.

    Args:
        flat: The model's `FlatCalls`.
        through_dropout: Whether dropout counts as the identity that it is in inference.

    Attributes:
        folded: A list of dictionaries: `batch_norm`, `into`, `direction`, `across`.
        kept: A list of dictionaries: `batch_norm`, `reason`.
        removed: The ids of the calls that are taken out of the graph.
    """

    def __init__(self, flat, through_dropout):
        self.flat, self.through_dropout = flat, through_dropout
        self.folded, self.removed, self._targets = [], set(), {}
        self._consumers, self._producers = {}, {}
        for call in flat.calls:
            self._producers.update((id(tensor), call) for tensor in call.outputs)
            for tensor in call.tensors:
                self._consumers.setdefault(id(tensor), []).append(call)
        self._outputs = {id(tensor) for tensor in keras.tree.flatten(flat.outputs)}
        norms = {id(call.layer): call.layer for call in flat.calls if _is_batch_norm(call.layer)}
        before = None
        # A batch norm that moved can make way for another one.
        while before != len(self.removed):
            before = len(self.removed)
            reasons = {key: self._fold(layer) for key, layer in norms.items()}
        self.kept = [
            {"batch_norm": norms[key].name, "reason": reason}
            for key, reason in reasons.items()
            if reason
        ]
        self.kept += _hidden_batch_norms(flat.calls)

    def changed(self):
        """The targets that have new weights and are still in the graph."""
        alive = {id(call.layer) for call in self.flat.calls if id(call) not in self.removed}
        return [
            t for key, t in self._targets.items() if t is not None and t.changed and key in alive
        ]

    def is_output(self, call):
        """Whether a call returns an output of the model."""
        return any(id(tensor) in self._outputs for tensor in call.outputs)

    def _fold(self, layer):
        """Folds the calls of a batch norm where possible; returns why the others stay."""
        reasons = {}
        for forward in (False, True):
            ends = {}
            for call in self._calls_of(layer):
                try:
                    ends[call] = self._ends(call, forward)
                except NotFoldable as reason:
                    reasons[call, forward] = str(reason)
            self._drop_conflicts(ends, forward, reasons)
            self._apply(layer, ends, forward)
        return "; ".join(
            dict.fromkeys(
                f"{'forward' if forward else 'backward'}: {reasons[call, forward]}"
                for forward in (False, True)
                for call in self._calls_of(layer)
            )
        )

    def _ends(self, call, forward):
        """The targets a call of a batch norm can go into: (call, pattern, layers crossed)."""
        batch_norm = self._target(call)
        if call.training:
            raise NotFoldable("it is called with training=True")
        source = call.main_input
        if not keras.backend.is_float_dtype(source.dtype):
            raise NotFoldable("its input consists of whole numbers")
        if forward and batch_norm.far_from_zero > _FARTHEST:
            raise NotFoldable("its input lies too far from zero for its deviation to be moved")
        scale, shift = batch_norm.values["scale"], batch_norm.values["shift"]
        pattern = first_pattern(call.layer.axis, len(source.shape), len(scale))
        if forward:
            return list(self._ahead(call, call, pattern, scale, shift, ()))
        return [self._behind(call, pattern, scale, shift)]

    def _behind(self, start, pattern, scale, shift):
        call, crossed = start, ()
        while True:
            producer = self._producer(call.main_input)
            if producer is None:
                raise NotFoldable("its input is an input of the model")
            target = self._foldable_target(producer, start)
            if target is not None:
                target.after(pattern, scale, shift)
            else:
                pattern = cross(producer, pattern, scale, shift, False, self.through_dropout)
            if len(list(self._uses(producer))) != 1:
                raise NotFoldable(f"the output of '{producer.name}' is used elsewhere too")
            if target is not None:
                return producer, pattern, crossed
            call, crossed = producer, (*crossed, producer.name)

    def _ahead(self, start, call, pattern, scale, shift, crossed):
        for user in self._uses(call):
            if user is _OUTPUT:
                raise NotFoldable("an output of the model depends on it directly")
            target = self._foldable_target(user, start)
            if target is not None:
                target.before(pattern, scale, shift)
                yield user, pattern, crossed
            else:
                there = cross(user, pattern, scale, shift, True, self.through_dropout)
                names = (*crossed, user.name)
                yield from self._ahead(start, user, there, scale, shift, names)

    def _foldable_target(self, call, start):
        target = self._target(call)
        if target is None:
            return None
        if call.layer is start.layer:
            raise NotFoldable("it is called on its own output")
        if _is_batch_norm(call.layer) and call.training:
            raise NotFoldable(f"'{call.name}' is called with training=True")
        return target

    def _drop_conflicts(self, ends, forward, reasons):
        """Leaves the calls whose targets are, at every call, reached in the same way."""
        while True:
            reached = {id(end): pattern for found in ends.values() for end, pattern, _ in found}
            for call, found in ends.items():
                conflict = self._conflict(found, reached)
                if conflict is not None:
                    reasons[call, forward] = f"'{conflict}' is called elsewhere too"
                    del ends[call]
                    break
            else:
                return

    def _conflict(self, found, reached):
        for end, pattern, _ in found:
            for other in self._calls_of(end.layer):
                same = reached.get(id(other))
                if same is None or same.shape != pattern.shape or (same != pattern).any():
                    return end.name
        return None

    def _apply(self, layer, ends, forward):
        taken = set()
        for call, found in ends.items():
            self.removed.add(id(call))
            batch_norm = self._target(call).values
            for end, pattern, crossed in found:
                if id(end.layer) in taken:
                    continue
                taken.add(id(end.layer))
                target = self._target(end)
                fold = target.before if forward else target.after
                target.take(fold(pattern, batch_norm["scale"], batch_norm["shift"]))
                self.folded.append(
                    {
                        "batch_norm": layer.name,
                        "into": end.name,
                        "direction": "forward" if forward else "backward",
                        "across": list(crossed),
                    }
                )

    def _target(self, call):
        if id(call.layer) not in self._targets:
            self._targets[id(call.layer)] = target_of(call.layer)
        return self._targets[id(call.layer)]

    def _calls_of(self, layer):
        return [
            call for call in self.flat.calls if call.layer is layer and id(call) not in self.removed
        ]

    def _producer(self, tensor):
        producer = self._producers.get(id(tensor))
        if producer is not None and id(producer) in self.removed:
            return self._producer(producer.main_input)
        return producer

    def _uses(self, call):
        """The calls that use what a call returns, and `_OUTPUT` where the model returns it."""
        for tensor in call.outputs:
            if id(tensor) in self._outputs:
                yield _OUTPUT
            for user in self._consumers.get(id(tensor), ()):
                if id(user) in self.removed:
                    yield from self._uses(user)
                else:
                    yield user


def _is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def _hidden_batch_norms(calls):
    """Those inside layers whose own graph is not known."""
    outer = {id(call.layer): call.layer for call in calls if not _is_batch_norm(call.layer)}
    return [
        {
            "batch_norm": inner.name,
            "reason": f"it is inside '{layer.name}' ({type(layer).__name__})",
        }
        for layer in outer.values()
        if isinstance(layer, keras.Layer)
        for inner in walk_layers(layer)
        if _is_batch_norm(inner)
    ]
