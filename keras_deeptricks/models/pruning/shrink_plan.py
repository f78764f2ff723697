"""The decision which units of a model can be removed."""

import numpy as np

from keras_deeptricks.models.pruning.unit_flow import UnitFlow

_LAST = "a layer keeps one unit at least"


class ShrinkPlan:
    """Finds the units whose removal changes no prediction; the graph is only read.

    A unit is needed where a linear layer gives it a weight other than 0 on the way to a unit that
    is needed, unless it is a constant that the bias can take up. What is needed is found backward
    from the outputs of the model; all else goes, so that units whose only use were removed units
    go as well.

    Args:
        flat: The model's `FlatCalls`.

    Attributes:
        changed: The carriers that have to be made anew.
        removed: A list of dictionaries: `layer`, `constant` and `unused`, arrays with the numbers
            of its units that go.
        kept: A list of dictionaries: `layer`, `units`, an array, and `reason`.
    """

    def __init__(self, flat):
        self._flat, self._connections, self._untrusted = flat, {}, {}
        while True:
            self._flow = UnitFlow(flat, self._connections, self._untrusted)
            if self._distrust():
                continue
            self._roots = self._flow.groups.roots()
            self._causes = self._flow.groups.pinned()
            self._alive = np.zeros(len(self._roots), dtype=bool)
            self._alive[list(self._causes)] = True
            self._spread()
            self._leave_one()
            if not self._overflows():
                break
        self.changed = [c for c in self._flow.carriers.values() if self._is_changed(c)]
        self.removed = [entry for carrier in self._flow.linear for entry in self._gone(carrier)]
        self.kept = [entry for carrier in self._flow.linear for entry in self._left(carrier)]
        nothing = np.zeros(0, dtype=int)
        self.kept += [
            {"layer": name, "units": nothing, "reason": reason}
            for name, reason in self._flow.obstacles.items()
        ]

    def ends(self, carrier):
        """Which units of the input and the output of a carrier stay; None where all do."""
        return carrier.kept(self._stay)

    def _stay(self, groups):
        return self._alive[self._roots[groups]]

    def _distrust(self):
        """Notes constants that one bias cannot take up as they differ; True if there are new."""
        new = {id(c.layer): c.disputed for c in self._flow.linear if c.disputed.any()}
        self._add_untrusted(new)
        return bool(new)

    def _overflows(self):
        """Notes layers whose bias would become too large for its type; True if there are any."""
        new = {}
        for carrier in self._flow.linear:
            bias = carrier.new_bias(*self.ends(carrier))
            limit = float(np.finfo("float16").max) if _is_half(carrier.layer) else 3.4e38
            if np.any(np.abs(bias) > limit) and not carrier.untrusted.all():
                new[id(carrier.layer)] = np.ones(len(carrier.untrusted), dtype=bool)
        self._add_untrusted(new)
        return bool(new)

    def _add_untrusted(self, new):
        for key, untrusted in new.items():
            self._untrusted[key] = self._untrusted.get(key, False) | untrusted

    def _spread(self):
        """Marks all that is needed by what is marked."""
        before = None
        while before != self._alive.sum():
            before = self._alive.sum()
            for carrier in reversed(self._flow.linear):
                self._mark_inputs(carrier)

    def _mark_inputs(self, carrier):
        units, outputs = carrier.calls[0]
        if units is None:
            return
        roots = self._roots[units.groups]
        open_places = np.flatnonzero(~self._alive[roots] & ~carrier.foldable)
        connected = carrier.connections.connected[open_places][:, self._stay(outputs.groups)]
        for place in open_places[connected.any(axis=1)]:
            self._alive[roots[place]] = True
            self._causes.setdefault(int(roots[place]), carrier.obstacle(place))

    def _leave_one(self):
        for units in self._flow.units.values():
            if not self._stay(units.groups).any():
                root = self._roots[units.groups[0]]
                self._alive[root] = True
                self._causes[int(root)] = _LAST

    def _is_changed(self, carrier):
        return any(stay is not None and not stay.all() for stay in self.ends(carrier))

    def _gone(self, carrier):
        gone = ~self.ends(carrier)[1]
        if gone.any():
            yield {
                "layer": carrier.layer.name,
                "constant": np.flatnonzero(gone & carrier.dead),
                "unused": np.flatnonzero(gone & ~carrier.dead),
            }

    def _left(self, carrier):
        """The dead units that stay, by reason."""
        roots = self._roots[carrier.calls[0][1].groups]
        places = {}
        for place in np.flatnonzero(carrier.dead & self._alive[roots]):
            places.setdefault(self._causes[int(roots[place])], []).append(place)
        for reason, units in places.items():
            yield {"layer": carrier.layer.name, "units": np.array(units), "reason": reason}


def _is_half(layer):
    return layer.variable_dtype == "float16"
