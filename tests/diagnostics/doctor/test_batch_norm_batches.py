import pytest
from keras.layers import BatchNormalization, Dense, LayerNormalization
from structural_cases import Chain, case_of, found, labels, numbers, tables

from keras_deeptricks.diagnostics.doctor import batch_norm_batches

NOTE = [("batch_norm_misuse", "note", "norm")]
WARNING = [("batch_norm_misuse", "warning", "norm")]


def report(detector, norm, rows=24, batch_size=8, kind=tables):
    model = kind(Dense(8, "relu"), norm, Dense(3))
    case = case_of(model, numbers(rows, 6), labels(rows, 3), batch_size=batch_size)
    return found(case, getattr(batch_norm_batches, detector))


@pytest.mark.parametrize("kind", [tables, Chain])
@pytest.mark.parametrize("size,expected", [(1, WARNING), (2, WARNING), (4, WARNING), (8, [])])
def test_the_batch_size(size, expected, kind):
    norm = BatchNormalization(name="norm")
    assert report("batch_norm_batch_size", norm, batch_size=size, kind=kind) == expected


def test_layers_that_need_no_batch():
    detector = "batch_norm_batch_size"
    assert report(detector, LayerNormalization(), batch_size=1) == []
    assert report(detector, BatchNormalization(trainable=False), batch_size=1) == []


def test_a_single_row_at_the_end_of_an_epoch():
    norm = BatchNormalization(name="norm")
    assert report("batch_norm_last_batch", norm, rows=25) == NOTE
    assert report("batch_norm_last_batch", norm, rows=26) == []


def test_statistics_that_do_not_settle():
    # 3 steps in 10 epochs: 0.99**30 = 0.74 of the start is left, 0.9**30 = 0.04.
    slow, fast = (BatchNormalization(momentum=m, name="norm") for m in (0.99, 0.9))
    assert report("batch_norm_momentum", slow) == NOTE
    assert report("batch_norm_momentum", fast) == []
