"""Sparsity by epoch and by round, against the papers' formulas worked out by hand."""

import numpy as np
import pytest

from keras_deeptricks.models.pruning import geometric_sparsities, polynomial_sparsity
from keras_deeptricks.models.pruning.sparsity_schedule import (
    SCHEDULES,
    check_schedule,
    constant_sparsity,
    linear_sparsity,
    planned_sparsity,
    pruning_plan,
)


def test_the_cubic_of_equation_1():
    # s = 0.9 + (0.1 − 0.9)·(1 − p)³: at p = ½ 0.9 − 0.8/8.
    found = [polynomial_sparsity(p, 0.1, 0.9) for p in (0, 0.25, 0.5, 0.75, 1)]
    # Rounding of float64 in three operations.
    np.testing.assert_allclose(found, [0.1, 0.5625, 0.8, 0.8875, 0.9], rtol=1e-14)
    assert found[-1] == 0.9


def test_other_powers():
    assert polynomial_sparsity(0.5, 0.0, 0.5, power=2) == 0.375
    assert linear_sparsity(0.25, 0.0, 0.5) == 0.125 == polynomial_sparsity(0.25, 0.0, 0.5, power=1)
    assert [constant_sparsity(p, 0.0, 0.5) for p in (0, 0.5, 1)] == [0.5] * 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_all_end_exactly_and_never_fall(name):
    schedule, points = check_schedule(name, 0.2, 0.917), np.linspace(0, 1, 37)
    values = [schedule(point, 0.2, 0.917) for point in points]
    assert values == sorted(values)
    assert values[-1] == 0.917


def test_a_plan_of_equation_1():
    # t₀ = 2, Δt = 2, n = 3.
    plan = pruning_plan(polynomial_sparsity, 0.0, 0.54, 2, 8, every=2)
    assert list(plan) == [2, 4, 6, 8]
    expected = [0.54 * (1 - (1 - k / 3) ** 3) for k in range(4)]
    np.testing.assert_allclose(list(plan.values()), expected, rtol=1e-14)
    assert plan[8] == 0.54


def test_plans_end_at_their_end():
    # The last step is shorter where `every` does not divide the way.
    assert list(pruning_plan(linear_sparsity, 0.0, 0.5, 0, 5, every=2)) == [0, 2, 4, 5]
    assert pruning_plan(linear_sparsity, 0.0, 0.5, 3, 3, every=1) == {3: 0.5}
    assert pruning_plan(linear_sparsity, 0.0, 0.5, 1, 3, every=9) == {1: 0.0, 3: 0.5}
    third = pruning_plan(lambda p, first, last: first + p * (last - first), 0.0, 0.1 + 0.2, 0, 3, 1)
    assert third[3] == 0.1 + 0.2


def test_what_a_plan_has_reached():
    plan = {2: 0.0, 4: 0.5, 6: 0.75}
    found = [planned_sparsity(plan, epoch) for epoch in range(8)]
    assert found == [None, None, 0.0, 0.0, 0.5, 0.5, 0.75, 0.75]


def test_rounds_that_prune_the_same_share_of_what_is_left():
    assert geometric_sparsities(0.875, 3) == [0.5, 0.75, 0.875]
    assert geometric_sparsities(0.9, 1) == [0.9]
    assert geometric_sparsities(0.0, 2) == [0.0, 0.0]
    left = 1 - np.array([0.5, *geometric_sparsities(0.95, 4, initial_sparsity=0.5)])
    np.testing.assert_allclose(left[1:] / left[:-1], 0.1**0.25, rtol=1e-12)


@pytest.mark.parametrize(
    "function, arguments",
    [
        (polynomial_sparsity, (1.1, 0.0, 0.5)),
        (polynomial_sparsity, (0.5, -0.1, 0.5)),
        (polynomial_sparsity, (0.5, 0.0, 1.1)),
        (polynomial_sparsity, (0.5, 0.0, 0.5, 0)),
        (geometric_sparsities, (1.0, 3)),
        (geometric_sparsities, (0.5, 0)),
        (geometric_sparsities, (0.5, 3, 0.6)),
    ],
)
def test_out_of_range(function, arguments):
    with pytest.raises(ValueError, match="must be a"):
        function(*arguments)


@pytest.mark.parametrize(
    "schedule, error, message",
    [
        ("cubic", ValueError, "'polynomial', 'linear', 'constant'"),
        (None, TypeError, "function of"),
        (lambda p: p, TypeError, "function of"),
        (lambda p, first, last: "much", TypeError, "values of `schedule`"),
        (lambda p, first, last: 1.5 * p, ValueError, "values of `schedule`"),
        (lambda p, first, last: p * (1 - p), ValueError, "never falls"),
        (lambda p, first, last: p * 0.4, ValueError, "ends at the final sparsity, 0.5"),
    ],
)
def test_bad_schedules(schedule, error, message):
    with pytest.raises(error, match=message):
        check_schedule(schedule, 0.0, 0.5)
