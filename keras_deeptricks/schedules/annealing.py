"""Annealing from value to value through consecutive phases, as a pure function of the step."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Phase:
    """From `start` at step `begin` to `target` at step `end`; the steps may be fractions."""

    begin: float
    end: float
    start: float
    target: float


def anneal(step, phases, annealing, xp):
    """The value at `step` of `phases`, each "cosine" or "linear"; the last value holds.

    A phase contains its end but not its begin. At its end the value is its target exactly.
    """
    last = phases[-1]
    step = xp.minimum(xp.maximum(step, 0.0), last.end)
    begin, width, start, target = last.begin, _width(last), last.start, last.target
    for phase in reversed(phases[:-1]):
        inside = step <= phase.end
        begin = xp.where(inside, phase.begin, begin)
        width = xp.where(inside, _width(phase), width)
        start = xp.where(inside, phase.start, start)
        target = xp.where(inside, phase.target, target)
    fraction = (step - begin) / width
    if annealing == "cosine":
        remaining = 0.5 * (1.0 + xp.cos(math.pi * fraction))
    else:
        remaining = 1.0 - fraction
    return target + (start - target) * remaining


def _width(phase):
    # A phase of no width (it ends at step 0) is at its end, never at 0/0.
    return phase.end - phase.begin or 1e-9
