from keras.layers import Dense
from structural_cases import Chain, case_of, found, labels, numbers, tables

from keras_deeptricks.diagnostics.doctor import widths

X = numbers(24, 6)


def report(detector, model, y=None, rows=24):
    return found(case_of(model, numbers(rows, 6), y), getattr(widths, detector))


def neck(units, kind=tables, classes=3):
    hidden = [Dense(40, "relu"), Dense(units, "relu", name="neck"), Dense(40, "relu")]
    return kind(*hidden, Dense(classes, "softmax"))


def test_a_single_unit():
    expected = [("architecture", "warning", "neck")]
    assert report("narrow_layer", neck(1)) == expected
    assert report("narrow_layer", neck(1, Chain)) == expected
    assert report("narrow_layer", neck(8)) == []


def test_a_few_units_for_many_classes_are_noted():
    # log2(12) = 3.6 > 3, and 3 is less than a tenth of 40.
    y = labels(60, 12)
    expected = [("architecture", "note", "neck")]
    assert report("narrow_layer", neck(3, classes=12), y, rows=60) == expected
    assert report("narrow_layer", neck(3), labels(24, 3)) == []


def test_codes_of_autoencoders_are_narrow():
    model = tables(Dense(40, "relu"), Dense(1), Dense(40, "relu"), Dense(6))
    assert report("narrow_layer", model, X) == []


def test_a_layer_of_thousands_of_units_for_a_few_rows():
    wide = tables(Dense(5000, "relu", name="wide"), Dense(3))
    expected = [("architecture", "warning", "wide")]
    assert report("wide_layer", wide) == expected
    assert report("wide_layer", wide, rows=300) == []  # 5000 are less than 20 for each row


def test_the_number_of_parameters():
    large, small = (tables(Dense(units, "relu"), Dense(3)) for units in (2500, 25))
    assert report("parameter_count", large) == [("architecture", "note", None)]  # 1 042 per row
    assert report("parameter_count", small) == []
