"""The units of tensors, and which of them can only be removed together."""

import dataclasses

import numpy as np


class NotShrinkable(Exception):
    """Why the units of a layer's inputs stay."""


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """The units of one tensor: neurons, or the channels of an image.

    Attributes:
        axis: The axis of the tensor along which they lie, counted with that of the rows.
        groups: The number of the group that each belongs to.
        constants: The value of each that is the same for every input and at every place, NaN for
            the others; float64.
    """

    axis: int
    groups: np.ndarray
    constants: np.ndarray

    def with_constants(self, constants):
        return dataclasses.replace(self, constants=constants)

    def unknown(self):
        """The same units, none of them known to be constant."""
        return self.with_constants(np.full(len(self.groups), np.nan))


class Groups:
    """Units that are removed together or not at all, as a union of disjoint sets."""

    def __init__(self):
        self._parents, self._pins = [], []

    def new(self, count):
        """The numbers of `count` new groups of one unit each."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, first, second):
        """Makes one group of each pair of two arrays of groups."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            one, other = self._root(one), self._root(other)
            self._parents[max(one, other)] = min(one, other)

    def pin(self, groups, reason):
        """Has the units stay, for a reason in words."""
        self._pins.append((groups, reason))

    def roots(self):
        """For each number the one that stands for its group."""
        return np.array([self._root(number) for number in range(len(self._parents))], dtype=int)

    def pinned(self):
        """The last reason given for each group that stays, by the number that stands for it."""
        reasons = {}
        for groups, reason in reversed(self._pins):
            for number in groups.tolist():
                reasons.setdefault(self._root(number), reason)
        return reasons

    def _root(self, number):
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number
