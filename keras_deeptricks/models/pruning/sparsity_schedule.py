"""Schedules of sparsity: which share of the weights is pruned at which epoch, or in which round."""

from keras_deeptricks.utils.checks import check_integer, check_number

# Progress at which the values of a given function are looked at.
_POINTS = tuple(point / 10 for point in range(11))


def polynomial_sparsity(progress, initial_sparsity, final_sparsity, power=3.0):
    """The sparsity that falls behind its final value by a power of what is left of the way.

    Much is pruned at first, while there are many weights to do without, and less and less later.

    Args:
        progress: p, the share of the way that is done, from 0 to 1.
        initial_sparsity: sᵢ, that at the beginning, from 0 to 1.
        final_sparsity: s_f, that at the end, from 0 to 1.
        power: 3 in the paper; 1 is a straight line. Above 0, defaults to `3.0`.

    Returns:
        s_f + (sᵢ − s_f)·(1 − p)^power, a number.

    Raises:
        TypeError: An argument is no number.
        ValueError: An argument is out of its range.

    Example:

    ```python
    from keras_deeptricks.models.pruning import polynomial_sparsity

    found = [polynomial_sparsity(progress, 0.0, 0.5) for progress in (0.0, 0.5, 1.0)]
    assert found == [0.0, 0.4375, 0.5]
    ```

    Reference: Zhu & Gupta, To prune, or not to prune, 2017, equation 1.
    """
    progress, initial, final = _checked(progress, initial_sparsity, final_sparsity)
    power = check_number("power", power, above=0)
    return final + (initial - final) * (1 - progress) ** power


def linear_sparsity(progress, initial_sparsity, final_sparsity):
    """The sparsity that rises by the same number of weights each time: a straight line."""
    return polynomial_sparsity(progress, initial_sparsity, final_sparsity, power=1.0)


def constant_sparsity(progress, initial_sparsity, final_sparsity):
    """The final sparsity from the beginning: everything is pruned at once."""
    return _checked(progress, initial_sparsity, final_sparsity)[-1]


SCHEDULES = {
    "polynomial": polynomial_sparsity,
    "linear": linear_sparsity,
    "constant": constant_sparsity,
}


def geometric_sparsities(final_sparsity, rounds, initial_sparsity=0.0):
    """The sparsities of rounds that each prune the same share of the weights that are left.

    Args:
        final_sparsity: That of the last round, from 0 to below 1.
        rounds: Number of rounds, at least 1.
        initial_sparsity: That before the first round, from 0 to `final_sparsity`. Defaults to
            `0.0`.

    Returns:
        A list of `rounds` numbers that grow; the last one is exactly `final_sparsity`.

    Raises:
        TypeError: An argument is no number.
        ValueError: An argument is out of its range.

    Example:

    ```python
    from keras_deeptricks.models.pruning import geometric_sparsities

    assert geometric_sparsities(0.875, rounds=3) == [0.5, 0.75, 0.875]
    ```

    Reference: Frankle & Carbin, The lottery ticket hypothesis, 2019, section 1 (each round prunes
    p^(1/n) of the weights that survive the one before).
    """
    final = check_number("final_sparsity", final_sparsity, minimum=0, below=1)
    rounds = check_integer("rounds", rounds, minimum=1)
    initial = check_number("initial_sparsity", initial_sparsity, minimum=0, maximum=final)
    ratio = (1 - final) / (1 - initial)
    found = [1 - (1 - initial) * ratio ** (number / rounds) for number in range(1, rounds)]
    return [*found, final]


def check_schedule(schedule, initial_sparsity, final_sparsity):
    """The function that `schedule` is, or is the name of.

    Raises:
        TypeError: It is neither, or the function does not return numbers.
        ValueError: No schedule has that name, or the function leaves 0 to 1, falls, or does not
            end at the final sparsity.
    """
    rule = (
        f"`schedule` must be one of {', '.join(map(repr, SCHEDULES))}, or a function of (progress, "
        "initial sparsity, final sparsity)"
    )
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]
    if not callable(schedule):
        kind = ValueError if isinstance(schedule, str) else TypeError
        raise kind(f"{rule}. Received: schedule={schedule!r}.")
    try:
        values = [schedule(point, initial_sparsity, final_sparsity) for point in _POINTS]
    except TypeError as error:
        raise TypeError(f"{rule}. Received: schedule={schedule!r}, which says: {error}") from error
    for value in values:
        try:
            check_number("schedule", value, minimum=0, maximum=1)
        except (TypeError, ValueError) as error:
            raise type(error)(
                "The values of `schedule` must be numbers from 0 to 1. Received: "
                f"schedule={schedule!r}, which returned {value!r}."
            ) from error
    values = [float(value) for value in values]
    if values != sorted(values) or abs(values[-1] - final_sparsity) > 1e-6:
        raise ValueError(
            f"{rule} that never falls and ends at the final sparsity, {final_sparsity}. Received: "
            f"schedule={schedule!r}, which has the values {values} on its way."
        )
    return schedule


def pruning_plan(schedule, initial_sparsity, final_sparsity, begin_epoch, end_epoch, every):
    """The epochs at whose start the sparsity is raised, and to what.

    These are `begin_epoch`, each `every` epochs after it, and in any case `end_epoch`.

    Returns:
        A dictionary from epochs, in order, to sparsities; the last is exactly the final one.
    """
    length = end_epoch - begin_epoch
    plan = {
        begin_epoch + done: float(schedule(done / length, initial_sparsity, final_sparsity))
        for done in range(0, length, every)
    }
    return {**plan, end_epoch: final_sparsity}


def planned_sparsity(plan, epoch):
    """What a plan has reached when an epoch begins: None before its first epoch."""
    reached = [sparsity for at, sparsity in plan.items() if at <= epoch]
    return reached[-1] if reached else None


def _checked(progress, initial, final):
    return (
        check_number("progress", progress, minimum=0, maximum=1),
        check_number("initial_sparsity", initial, minimum=0, maximum=1),
        check_number("final_sparsity", final, minimum=0, maximum=1),
    )
