"""Checks of arguments: what passes, and errors that name the argument, the rule and the value."""

import math

import numpy as np
import pytest

from keras_deeptricks.utils.checks import check_choice, check_flag, check_integer, check_number


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2)])
def test_numbers_become_floats(value):
    checked = check_number("rate", value)
    assert checked == 2.0
    assert type(checked) is float


@pytest.mark.parametrize("value", [None, "1", True, np.True_, 1j, [1.0], np.ones(1)])
def test_what_is_no_number_is_refused_by_type(value):
    with pytest.raises(TypeError, match=r"`rate` must be a number.*rate="):
        check_number("rate", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_must_be_finite(value):
    with pytest.raises(ValueError, match="`rate`"):
        check_number("rate", value)


@pytest.mark.parametrize(
    "bounds, inside, outside, rule",
    [
        ({"minimum": 0}, 0.0, -1e-9, "≥ 0"),
        ({"maximum": 1}, 1.0, 1.1, "≤ 1"),
        ({"above": 0}, 1e-300, 0.0, "> 0"),
        ({"below": 1}, 0.999, 1.0, "< 1"),
        ({"minimum": 0, "below": 1}, 0.0, 1.0, "≥ 0 and < 1"),
    ],
)
def test_bounds_of_numbers(bounds, inside, outside, rule):
    assert check_number("rate", inside, **bounds) == inside
    with pytest.raises(ValueError, match=f"`rate` must be a number {rule}"):
        check_number("rate", outside, **bounds)


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3), np.float64(3)])
def test_whole_numbers_become_ints(value):
    checked = check_integer("steps", value)
    assert checked == 3
    assert type(checked) is int


@pytest.mark.parametrize("value", [2.5, "3", True, None, math.nan, math.inf, [3]])
def test_what_is_not_whole_is_refused(value):
    with pytest.raises(TypeError, match="`steps` must be a whole number"):
        check_integer("steps", value)


def test_bounds_of_whole_numbers_are_inclusive():
    assert check_integer("steps", 1, minimum=1, maximum=1) == 1
    with pytest.raises(ValueError, match=r"`steps` must be a whole number ≥ 1.*steps=0"):
        check_integer("steps", 0, minimum=1)
    with pytest.raises(ValueError, match="≤ 1"):
        check_integer("steps", 2, maximum=1)


def test_a_choice_is_returned_or_the_choices_are_listed():
    assert check_choice("mode", "min", ("min", "max")) == "min"
    with pytest.raises(ValueError, match=r"`mode` must be one of 'min', 'max'.*mode='mean'"):
        check_choice("mode", "mean", ("min", "max"))


# 1 == True and [..] is unhashable, an array compares elementwise: none of them may slip through.
@pytest.mark.parametrize("value", [1, ["min"], np.array(["min", "max"]), None])
def test_a_choice_must_have_the_type_of_the_choices(value):
    with pytest.raises(ValueError, match="`mode`"):
        check_choice("mode", value, ("min", True))


@pytest.mark.parametrize("value", [True, np.True_])
def test_flags(value):
    assert check_flag("shuffle", value) is True


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_a_flag_is_nothing_that_merely_counts_as_true(value):
    with pytest.raises(TypeError, match=r"`shuffle` must be True or False.*shuffle="):
        check_flag("shuffle", value)
