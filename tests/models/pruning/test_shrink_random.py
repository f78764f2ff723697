"""Shrinking random networks with random dead units: the predictions stay."""

import pytest
from shrinking_models import assert_same_by_predict, shrink_with_report
from shrinking_networks import random_network


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_random_networks(first):
    removed = 0
    for seed in range(first, first + 10):
        model = random_network(seed)
        small, report = shrink_with_report(model)
        assert_same_by_predict(model, small)
        removed += report.removed_units
    # About seven units are dead by chance in each.
    assert removed > 30
