import pytest
from keras.layers import Dense
from structural_cases import case_of, found, labels, numbers, tables

from keras_deeptricks.diagnostics.doctor.batch_sizes import batch_size


@pytest.mark.parametrize(
    "rows,size,count",
    [(1000, 1000, 1), (1000, 400, 1), (1000, 250, 0), (1000, 32, 0), (100, 100, 0),
     (1000, 1, 1), (20, 1, 0)],
)  # fmt: skip
def test_batch_sizes_are_noted(rows, size, count):
    model = tables(Dense(3))
    case = case_of(model, numbers(rows, 6), labels(rows, 3), batch_size=size)
    assert found(case, batch_size) == [("batch_size", "note", "batch_size")] * count
