"""Search spaces: named hyperparameters that a caller can fix or give another range."""

import dataclasses

from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter: what it may be, and where it applies.

    Attributes:
        name: Its name in the search.
        kind: `"integer"`, `"number"`, `"choice"` or `"flag"`.
        values: A pair (low, high) of a range, or the tuple of the choices. A single one is fixed.
        default: The value that a search takes to begin with.
        scale: `"linear"` or `"log"`, of a range.
        step: Distance (on a log scale: factor) between the values of a range, or None.
        is_range: Whether `values` are the ends of a range.
        bounds: What may be asked for at all: arguments of `check_number` or `check_integer`.
        allowed: The choices that may be asked for, or a function that raises for the others.
        parent: A pair (name, values): this one applies only where the choice of that name is one
            of the values; None for always.
        fixes_parent: Whether a caller who gives a value of this one means its parent's too.
    """

    name: str
    kind: str
    values: tuple
    default: object
    scale: str = "linear"
    step: int | None = None
    is_range: bool = True
    bounds: dict = dataclasses.field(default_factory=dict)
    allowed: object = None
    parent: tuple | None = None
    fixes_parent: bool = False

    @property
    def is_fixed(self):
        """Whether there is one value only."""
        return len(set(self.values)) == 1

    def __str__(self):
        low, *_, high = (*self.values, self.values[-1])
        if self.is_fixed:
            return f"{self.name} = {_shown(low)}"
        if self.is_range:
            return f"{self.name} {_shown(low)}…{_shown(high)}" + " (log)" * (self.scale == "log")
        return f"{self.name} {'|'.join(map(_shown, self.values))}"


def integer(name, low, high, default, **options):
    """A whole number in a range."""
    options.setdefault("bounds", {"minimum": 1})
    return Hyperparameter(name, "integer", (low, high), default, **options)


def number(name, low, high, default, **options):
    """A number in a range."""
    return Hyperparameter(name, "number", (float(low), float(high)), float(default), **options)


def choice(name, values, *, allowed=None, **options):
    """One of several names; the first is the default."""
    return Hyperparameter(
        name, "choice", values, values[0], is_range=False, allowed=allowed or values, **options
    )


def flag(name, default=False, **options):
    """True or False."""
    return Hyperparameter(name, "flag", (default, not default), default, is_range=False, **options)


class SearchSpace:
    """The hyperparameters of a search, with the caller's changes.

    Args:
        hyperparameters: List of `Hyperparameter`, each behind its parent.
        changes: Dictionary from names to a value (which fixes the hyperparameter), a pair
            `(low, high)` (another range, on the same scale) or a list (the choices); or None.

    Raises:
        TypeError: A change is of the wrong type.
        ValueError: A name is unknown, a change is out of bounds, or can have no effect.
    """

    def __init__(self, hyperparameters, changes=None):
        known = {hyperparameter.name: hyperparameter for hyperparameter in hyperparameters}
        changes = {} if changes is None else changes
        if not isinstance(changes, dict):
            raise TypeError(
                "`space` must be a dictionary from names of hyperparameters to a value, a pair "
                f"(low, high) or a list of choices. Received: space={changes!r}."
            )
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ValueError(
                f"`space` names {', '.join(map(repr, unknown))}, which is no hyperparameter here. "
                f"There are {', '.join(known)}."
            )
        for name, change in changes.items():
            known[name] = _changed(known[name], change)
        for name in changes:
            _fix_parent(known, name, changes)
        self._hyperparameters = {}
        for name, hyperparameter in known.items():
            hyperparameter = _under_its_parent(hyperparameter, known)
            if hyperparameter is not None:
                self._hyperparameters[name] = hyperparameter
            elif name in changes:
                parent, values = known[name].parent
                raise ValueError(
                    f"`space` changes '{name}', which applies only where '{parent}' is "
                    f"{' or '.join(map(repr, values))}, and `space` excludes that."
                )
        self._defaults = {name: hyperparameter.default for name, hyperparameter in known.items()}

    @property
    def names(self):
        """The names of the hyperparameters that can apply, parents first."""
        return tuple(self._hyperparameters)

    def __getitem__(self, name):
        """The `Hyperparameter` of this name, with the caller's changes."""
        return self._hyperparameters[name]

    def __contains__(self, name):
        return name in self._hyperparameters

    def declare(self, hp, name):
        """Declares one hyperparameter to a `keras_tuner.HyperParameters` and gives its value.

        Returns:
            The value, or None where the hyperparameter does not apply.
        """
        hyperparameter = self._hyperparameters[name]
        if hyperparameter.parent is None:
            return _declare(hp, hyperparameter)
        parent, values = hyperparameter.parent
        with hp.conditional_scope(parent, list(values)):
            return _declare(hp, hyperparameter)

    def declare_all(self, hp):
        """Declares all of them.

        Returns:
            Dictionary of the values of those that apply.
        """
        values = {name: self.declare(hp, name) for name in self._hyperparameters}
        return {name: value for name, value in values.items() if value is not None}

    def defaults(self):
        """Dictionary of the values that a search begins with, of all hyperparameters."""
        return dict(self._defaults)

    def __str__(self):
        return ", ".join(map(str, self._hyperparameters.values()))


def _declare(hp, hyperparameter):
    name, values = hyperparameter.name, hyperparameter.values
    if hyperparameter.is_fixed:
        return hp.Fixed(name, values[0])
    if not hyperparameter.is_range:
        if hyperparameter.kind == "flag":
            return hp.Boolean(name, default=hyperparameter.default)
        return hp.Choice(name, list(values), default=hyperparameter.default)
    declare = hp.Int if hyperparameter.kind == "integer" else hp.Float
    return declare(
        name,
        min_value=values[0],
        max_value=values[1],
        step=hyperparameter.step,
        sampling=hyperparameter.scale,
        default=hyperparameter.default,
    )


def _changed(hyperparameter, change):
    """The hyperparameter as the caller wants it."""
    name = f"space['{hyperparameter.name}']"
    is_number = hyperparameter.kind in ("integer", "number")
    if not isinstance(change, (tuple, list)):
        value = _checked(hyperparameter, name, change)
        return dataclasses.replace(hyperparameter, values=(value,), default=value, is_range=False)
    if not change or (is_number and isinstance(change, tuple) and len(change) != 2):
        raise ValueError(
            f"`{name}` must be a value, a pair (low, high) or a list of choices. "
            f"Received: {name}={change!r}."
        )
    values = tuple(_checked(hyperparameter, name, value) for value in change)
    if not (is_number and isinstance(change, tuple)):
        values = tuple(dict.fromkeys(values))
        default = hyperparameter.default if hyperparameter.default in values else values[0]
        return dataclasses.replace(hyperparameter, values=values, default=default, is_range=False)
    low, high = values
    if low > high:
        raise ValueError(
            f"`{name}` must be a pair (low, high) with low ≤ high. Received: {name}={change!r}."
        )
    if hyperparameter.scale == "log" and low <= 0:
        raise ValueError(
            f"`{name}` is searched on a log scale: low must be above 0. "
            f"Received: {name}={change!r}."
        )
    default = min(max(hyperparameter.default, low), high)
    # Off the grid that begins at the lower end there is no default.
    default = low if hyperparameter.step is not None else default
    return dataclasses.replace(hyperparameter, values=values, default=default, is_range=True)


def _checked(hyperparameter, name, value):
    if hyperparameter.kind == "flag":
        return check_flag(name, value)
    if hyperparameter.kind == "integer":
        return check_integer(name, value, **hyperparameter.bounds)
    if hyperparameter.kind == "number":
        return check_number(name, value, **hyperparameter.bounds)
    if callable(hyperparameter.allowed):
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be a name. Received: {name}={value!r}.")
        hyperparameter.allowed(value)
        return value
    return check_choice(name, value, hyperparameter.allowed)


def _fix_parent(known, name, changes):
    """`learning_rate=0.01` means that the rate is not to be found."""
    hyperparameter = known[name]
    if hyperparameter.fixes_parent and hyperparameter.parent[0] not in changes:
        parent, (value, *_) = hyperparameter.parent
        known[parent] = dataclasses.replace(known[parent], values=(value,), default=value)


def _under_its_parent(hyperparameter, known):
    """The hyperparameter with as much of its condition as is still open; None if never met."""
    if hyperparameter.parent is None:
        return hyperparameter
    parent, values = hyperparameter.parent
    possible = tuple(value for value in values if value in known[parent].values)
    if not possible:
        return None
    is_always = len(possible) == len(known[parent].values)
    return dataclasses.replace(hyperparameter, parent=None if is_always else (parent, possible))


def _shown(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)
