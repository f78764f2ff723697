"""What a user hands to the training doctor: programs, and pairs of a faulty and a mended one."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A compiled model, its data, and further arguments of `check`."""

    model: keras.Model
    x: Any
    y: Any = None
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A faulty program and the same with the fault mended.

    Attributes:
        name: What the fault is.
        codes: At least one of these codes must be found in the faulty program.
        layer: The layer that one of those findings must name, or a tuple of names any of which
            will do, or None.
        faulty, healthy: Functions without arguments that build the programs.
        severity: The mildest severity that counts as found.
    """

    name: str
    codes: tuple
    layer: str | tuple | None
    faulty: Callable[[], Program]
    healthy: Callable[[], Program]
    severity: str = "warning"


def seeded(build, *args):
    """What `build` gives, from the same seed every time."""
    keras.utils.set_random_seed(0)
    return build(*args)


def pair(pairs, *codes, layer=None, severity="warning"):
    """Adds to `pairs` the programs of the decorated function, which takes whether to be faulty."""

    def add(build):
        both = (functools.partial(seeded, build, faulty) for faulty in (True, False))
        pairs.append(Pair(build.__name__, codes, layer, *both, severity=severity))
        return build

    return add


def healthy(programs):
    """Adds the decorated function without arguments, and its name, to `programs`."""

    def add(build):
        programs.append((build.__name__, functools.partial(seeded, build)))
        return build

    return add
