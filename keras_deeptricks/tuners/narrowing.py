"""Ranges that narrow around the best value found, in shares of the range given first."""

# How far an interval may reach beyond the range given first, in widths of the range.
_BEYOND = 0.5
# A best value this near to an end of its range, as a share of the range's width, lies on the end.
_EDGE = 0.1


def narrowed(best, interval, shrink, may_leave=False):
    """The interval to search next.

    It lies around the best value and is `shrink` times as wide; where the best value lies on an
    end of the interval, the better ones may lie beyond it, and the interval moves without
    shrinking.

    Args:
        best: Place of the best value: 0 is the lowest value of the range given first, 1 the
            highest, on the range's own scale.
        interval: (low, high), the places searched so far.
        shrink: Ratio of the widths, between 0 and 1.
        may_leave: Whether the interval may reach beyond the range given first, by half of its
            width.

    Returns:
        (low, high).

    Example:

    ```python
    from keras_deeptricks.tuners.narrowing import narrowed

    assert narrowed(0.5, (0.0, 1.0), shrink=0.5) == (0.25, 0.75)
    assert narrowed(1.0, (0.0, 1.0), shrink=0.5, may_leave=True) == (0.5, 1.5)
    assert narrowed(0.75, (0.25, 0.75), shrink=0.5) == (0.5, 1.0)
    ```
    """
    low, high = interval
    width = high - low
    if min(best - low, high - best) > _EDGE * width:
        width *= shrink
    low, high = best - width / 2, best + width / 2
    beyond = _BEYOND if may_leave else 0.0
    # Moved inside, as wide as it is; one as wide as what is allowed is all of it.
    low = max(-beyond, min(low, 1.0 + beyond - width))
    return low, min(1.0 + beyond, low + width)


def neighbours(values, best, interval, shrink):
    """The ordered values to search next: those in the narrowed interval, and the best's neighbours.

    Args:
        values: The values in order.
        best: The best of them.
        interval: (low, high) as in `narrowed`, of places between 0 and 1.
        shrink: As in `narrowed`.

    Returns:
        The pair of the list of the values and the new interval.
    """
    place = values.index(best)
    last = max(1, len(values) - 1)
    low, high = narrowed(place / last, interval, shrink)
    kept = [
        value
        for number, value in enumerate(values)
        if low <= number / last <= high or abs(number - place) <= 1
    ]
    return kept, (low, high)
