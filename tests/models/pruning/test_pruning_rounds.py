"""The rounds of iterative pruning and what shrinking did, as tables of figures by hand."""

import numpy as np
import pytest

from keras_deeptricks.models.pruning import PruningRounds, ShrinkReport, SparsityReport
from keras_deeptricks.models.pruning.pruning_rounds import round_entry


def report(nonzero=6, flops=20):
    return SparsityReport(
        model="small",
        kernels=[{"path": "out/kernel", "shape": [5, 2], "parameters": 10, "nonzero": nonzero}],
        after={"parameters": 12, "nonzero": nonzero, "flops": flops, "nonzero_flops": flops},
    )


def rounds(flops=20, **changes):
    entries = [
        round_entry(0, 0.0, report(10, flops), {"loss": 9.0}, {"loss": 1.0}),
        round_entry(1, 0.4, report(6, flops), {"loss": 3.0, "accuracy": 0.5}, {"loss": 2.0}),
    ]
    return PruningRounds(**{"model": "small", "rounds": entries, **changes})


def test_by_hand():
    found = rounds()
    assert found.sparsities == pytest.approx([0, 0.4])
    assert found.names == ["loss", "accuracy"]
    assert found.figures("loss").tolist() == [1, 2]
    np.testing.assert_array_equal(found.figures("accuracy", "before"), [np.nan, 0.5])
    assert found.rounds[1]["nonzero"] == 6
    assert found.rounds[1]["flops"] == 20
    lines = str(found).splitlines()
    assert lines[0] == "'small', pruned in 1 rounds"
    assert lines[3].split() == ["1", "40.0%", "6", "20", "3", "2", "0.5"]


def test_operations_that_are_not_known():
    shrunk = {"parameters": [1200, 600], "flops": [None, None]}
    lines = str(rounds(flops=None, shrunk=shrunk)).splitlines()
    assert lines[3].split()[:4] == ["1", "40.0%", "6", "?"]
    assert lines[4] == "parameters of the smaller model: 1,200 → 600"
    assert lines[5] == "flops of the smaller model: ? → ?"


def test_a_total_with_unknown_parts_is_unknown():
    layers = [
        {"layer": "own", "units": [None, None], "parameters": [9, 9], "flops": [None, None]},
        {"layer": "out", "units": [4, 2], "parameters": [40, 20], "flops": [80, 40]},
    ]
    shrunk = ShrinkReport("small", layers, [], [])
    assert shrunk.parameters == [49, 29]
    assert shrunk.flops == [None, None]
    lines = str(shrunk).splitlines()
    assert lines[2].split() == ["own", "9", "?"]
    assert lines[4].split() == ["total", "49", "→", "29", "?"]
