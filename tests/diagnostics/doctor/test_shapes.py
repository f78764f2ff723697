import pytest
from keras import Input, Model
from keras.layers import (
    LSTM,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from structural_cases import Chain, case_of, found, labels, numbers, tables

from keras_deeptricks.diagnostics.doctor import shapes

IMAGES, SEQUENCES = numbers(24, 8, 8, 1), numbers(24, 4, 6)


def report(detector, model, x, y=None, **options):
    return found(case_of(model, x, y, **options), getattr(shapes, detector))


def convnet(poolings):
    inputs = tensor = Input((8, 8, 1))
    for _ in range(poolings):
        tensor = MaxPooling2D()(Conv2D(4, 3, padding="same", activation="relu")(tensor))
    tensor = Conv2D(4, 3, padding="same", activation="relu", name="last")(tensor)
    return inputs, tensor


def test_maps_of_one_position():
    for poolings, expected in ((3, [("architecture", "warning", "last")]), (2, [])):
        inputs, tensor = convnet(poolings)
        model = Model(inputs, Dense(3)(Flatten()(tensor)))
        assert report("vanished_map", model, IMAGES) == expected


def test_a_single_position_in_the_middle_of_an_autoencoder_is_noted():
    inputs, tensor = convnet(3)
    model = Model(inputs, Conv2DTranspose(1, 8, 8)(tensor))
    expected = [("architecture", "note", "last")]
    assert report("vanished_map", model, IMAGES, IMAGES) == expected


def error(layer):
    return [("architecture", "error", layer)]


@pytest.mark.parametrize("steps,expected", [([], error("out")), ([GlobalAveragePooling2D()], [])])
def test_dense_layers_on_images(steps, expected):
    inputs = tensor = Input((8, 8, 1))
    for step in (Conv2D(4, 3), *steps, Dense(3, name="out")):
        tensor = step(tensor)
    assert report("output_per_position", Model(inputs, tensor), IMAGES) == expected
    chain = Chain(Conv2D(4, 3), *steps, Dense(3, name="out"))
    assert report("output_per_position", chain, IMAGES) == expected


@pytest.mark.parametrize("sequences,expected", [(True, error("lstm")), (False, [])])
@pytest.mark.parametrize("y", [labels(24, 3), numbers(24), numbers(24, 1)])
def test_recurrent_layers_that_return_sequences(sequences, expected, y):
    inputs = Input((4, 6))
    tensor = LSTM(4, return_sequences=sequences, name="lstm")(inputs)
    model = Model(inputs, Dense(3 if y.dtype.kind == "i" else 1)(tensor))
    assert report("output_per_position", model, SEQUENCES, y) == expected


@pytest.mark.parametrize(
    "units,y",
    [(3, labels(96, 3).reshape(24, 4)), (1, numbers(24, 4, 1)), (2, numbers(24, 4, 2))],
)
def test_targets_for_every_step(units, y):
    inputs = Input((4, 6))
    model = Model(inputs, Dense(units)(LSTM(4, return_sequences=True)(inputs)))
    loss = "sparse_categorical_crossentropy" if units == 3 else "mse"
    assert report("output_per_position", model, SEQUENCES, y, loss=loss) == []


def test_a_flattened_map():
    inputs = Input((64, 64, 8))
    wide = Model(inputs, Dense(160, "relu", name="big")(Flatten()(inputs)))
    assert found_static(wide) == [("architecture", "note", "big")]
    assert found_static(tables(Dense(8), Dense(3))) == []


def found_static(model):
    """The parameters of a large layer count, not what it computes."""

    class Static:
        structure = shapes_of(model)

    Static.model = model
    return [(f.code, f.severity, f.layer) for f in shapes.flattened_map(Static)]


def shapes_of(model):
    from keras_deeptricks.diagnostics.doctor.structure import structure_of

    return structure_of(model, None)
