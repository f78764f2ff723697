"""The networks for images: parameter counts of the papers, structure, options, training."""

import keras
import numpy as np
import pytest

import keras_deeptricks as kdt

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(3, 2, size=(24, 8, 8)).astype("float32")
CLASSES = np.arange(24) % 3
SMALL = {
    "resnet": {"depth": 8, "filters": 4},
    "wide_resnet": {"depth": 10, "widen": 1},
    "densenet": {"depth": 10, "growth": 4},
    "plain_net": {"depth": 8, "filters": 4},
}


def made(name, **options):
    return getattr(kdt.recipes, name)((8, 8), 3, **{**SMALL[name], "seed": 1, **options})


def trainable_parameters(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


# Counted in the papers' networks on 32×32×3 images with 10 classes; rounded there to .27 M, .85 M,
# 2.7 M and .8 M. (110 and WRN-28-10 take a minute to build: see the last test.)
@pytest.mark.parametrize(
    "name, options, count",
    [
        ("resnet", {"depth": 20}, 269_722),
        ("resnet", {"depth": 56}, 853_018),
        ("plain_net", {"depth": 20}, 269_722),
        ("wide_resnet", {"depth": 16, "widen": 4}, 2_748_890),
        ("densenet", {"depth": 40, "growth": 12}, 176_122),
    ],
)
def test_parameters_of_the_papers(name, options, count):
    model = getattr(kdt.recipes, name)((32, 32, 3), 10, **options)
    assert trainable_parameters(model) == count


def count_by_hand(depth, widths, kernel=9):
    """Convolutions, batch norms and output of a residual net without weights in its shortcuts."""
    blocks = (depth - 2) // 6
    total, channels = kernel * 3 * widths[0] + 2 * widths[0], widths[0]
    for width in widths:
        for _ in range(blocks):
            total += kernel * channels * width + kernel * width * width + 4 * width
            channels = width
    return total + 10 * channels + 10


@pytest.mark.parametrize("depth, millions", [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)])
def test_table_6_of_the_paper(depth, millions):
    count = count_by_hand(depth, (16, 32, 64))
    assert round(count / 1e6, 1 if depth == 110 else 2) == millions
    if depth < 50:
        model = kdt.recipes.resnet((32, 32, 3), 10, depth=depth)
        assert trainable_parameters(model) == count


@pytest.mark.parametrize("name", SMALL)
def test_trains_and_keeps_its_inputs_standardized(name):
    model = made(name, adapt_to=IMAGES)
    before = model.evaluate(IMAGES, CLASSES, verbose=0)[0]
    model.fit(IMAGES, CLASSES, epochs=8, batch_size=8, verbose=0)
    # The running statistics of so few steps are rough; the training loss is what must fall.
    assert model.history.history["loss"][-1] < min(before, model.history.history["loss"][0])
    assert model.predict(IMAGES, verbose=0).shape == (24, 3)
    standardized = keras.ops.convert_to_numpy(model.get_layer("standardization")(IMAGES))
    np.testing.assert_allclose([standardized.mean(), standardized.std()], [0, 1], atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_network(name):
    first, again, other = (made(name, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    kernels = [i for i, w in enumerate(first) if w.ndim == 4]
    assert all(not np.array_equal(first[i], other[i]) for i in kernels)
    # Kernels of the same shape differ within one network.
    for shape in {first[i].shape for i in kernels}:
        alike = [first[i] for i in kernels if first[i].shape == shape]
        assert len({w.tobytes() for w in alike}) == len(alike)


def test_plain_is_the_residual_network_without_shortcuts():
    plain, residual = made("plain_net"), made("resnet")
    assert [w.shape for w in plain.get_weights()] == [w.shape for w in residual.get_weights()]
    branches = residual.get_layer("block_1_1").residual
    assert branches.shortcut is None
    residual.set_weights(plain.get_weights())
    inputs = keras.ops.convert_to_tensor(IMAGES)
    tensor = residual.get_layer("standardization")(inputs)
    tensor = keras.ops.expand_dims(tensor, -1)
    for part in ("conv", "norm", "activation"):
        tensor = residual.get_layer(f"stem_{part}")(tensor)
    for stage in (1, 2, 3):
        block = residual.get_layer(f"block_{stage}_1").residual
        tensor = block.activation(block.branch(tensor))
    for name in ("pooling", "scores", "output"):
        tensor = residual.get_layer(name)(tensor)
    expected = keras.ops.convert_to_numpy(tensor)
    # The order of the float32 sums may differ.
    np.testing.assert_allclose(plain.predict(IMAGES, verbose=0), expected, rtol=1e-4, atol=1e-6)


def test_survival_falls_linearly_over_all_blocks():
    model = made("resnet", depth=14, stochastic_depth=0.4)
    found = [
        layer.survival_probability
        for layer in model.layers
        if isinstance(layer, kdt.layers.ResidualBlock)
    ]
    np.testing.assert_allclose(found, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


@pytest.mark.parametrize("name", ["resnet", "wide_resnet"])
def test_zero_init_residual_is_the_shortcuts_alone(name):
    model = made(name, zero_init_residual=True)
    blocks = [layer for layer in model.layers if isinstance(layer, kdt.layers.ResidualBlock)]
    branches = [block.residual.branch for block in blocks]
    for branch in branches:
        values = branch(np.ones((2, *branch.input_shape[1:]), "float32"))
        assert np.abs(keras.ops.convert_to_numpy(values)).max() == 0


def test_augmentation_acts_in_training_only():
    shift = keras.layers.RandomTranslation(0.3, 0.3, seed=1, data_format="channels_last")
    model = made("resnet", augmentation=[shift])
    assert shift in model.layers
    quiet = [model.predict(IMAGES, verbose=0) for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    images = shift(np.asarray(IMAGES[..., None]), training=True)
    assert not np.array_equal(keras.ops.convert_to_numpy(images), IMAGES[..., None])
    # Before the standardization: layers that clip to the range of pixels see pixels.
    order = [layer.name for layer in model.layers]
    assert order.index(shift.name) < order.index("standardization")


def test_pre_activation_bottlenecks():
    model = made("resnet", depth=11, kind="bottleneck", pre_activation=True, shortcut="projection")
    assert model.get_layer("block_3_1").output.shape == (None, 2, 2, 4 * 16)
    assert model.get_layer("head_norm")  # none of the blocks ends in one
    model.fit(IMAGES, CLASSES, verbose=0)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(precision):
    model = made("resnet", precision=precision, stochastic_depth=0.5)
    model.fit(IMAGES, CLASSES, batch_size=8, verbose=0)
    block = model.get_layer("block_2_1")
    assert block.compute_dtype == precision.removeprefix("mixed_")
    assert {str(v.dtype) for v in block.trainable_variables} == {"float32"}
    assert model.output.dtype == "float32"


@pytest.mark.parametrize("name", SMALL)
def test_saves_and_loads(name, tmp_path):
    model = made(name, adapt_to=IMAGES)
    model.optimizer.build(model.trainable_variables)  # Keras warns of an optimizer without slots
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )


def test_regression_and_binary_tasks():
    targets = IMAGES.mean(axis=(1, 2))
    model = kdt.recipes.resnet(
        (8, 8), 1, depth=8, filters=4, task="regression", adapt_targets_to=targets
    )
    model.fit(IMAGES, targets, verbose=0)
    assert model.predict(IMAGES, verbose=0).shape == (24, 1)
    assert kdt.recipes.resnet((8, 8, 2), 1, depth=8, task="binary").output_shape == (None, 1)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("resnet", {"depth": 21}, "6n \\+ 2, such as 20 or 26"),
        ("resnet", {"depth": 2}, "6n \\+ 2, such as 8"),
        ("resnet", {"depth": 12, "kind": "bottleneck"}, "9n \\+ 2"),
        ("wide_resnet", {"depth": 20}, "6n \\+ 4"),
        ("densenet", {"depth": 41}, "6n \\+ 4"),
        ("densenet", {"depth": 42, "bottleneck": False}, "3n \\+ 4"),
        ("resnet", {"stochastic_depth": 1.5}, "stochastic_depth"),
        ("resnet", {"kind": "wide"}, "kind"),
        ("resnet", {"filters": 0}, "filters"),
        ("wide_resnet", {"widen": 0}, "widen"),
        ("densenet", {"growth": 0}, "growth"),
        ("densenet", {"compression": 0}, "compression"),
        ("resnet", {"augmentation": ["flip"]}, "augmentation"),
        ("resnet", {"dropout": 1}, "dropout"),
        ("resnet", {"widen": 2}, "resnet got unexpected arguments: widen"),
        ("densenet", {"hidden_units": 3}, "hidden_units. Beside its own it takes task"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made(name, **options)


def test_not_an_image():
    with pytest.raises(ValueError, match="image"):
        kdt.recipes.resnet((16,), 3)
    with pytest.raises(ValueError, match="4 pixels"):
        kdt.recipes.resnet((3, 8), 3)


def test_train_residual(tmp_path):
    run = kdt.recipes.train_residual(
        IMAGES, CLASSES, network="resnet", epochs=2, seed=1, verbose=0, **SMALL["resnet"]
    )
    assert run.settings["recipe"] == "resnet"
    assert (run.settings["depth"], run.settings["filters"]) == (8, 4)
    assert (run.settings["kind"], run.settings["shortcut"]) == ("basic", "padding")
    assert run.settings["batch_size"] == 8  # few rows, but enough for batch norm
    run.save(tmp_path / "run")
    again = kdt.recipes.TrainingRun.load(tmp_path / "run")
    assert again.settings == run.settings
    with pytest.raises(ValueError, match="network"):
        kdt.recipes.train_residual(IMAGES, CLASSES, network="vgg")
    with pytest.raises(TypeError, match="`momentum` is cycled"):
        kdt.recipes.train_residual(IMAGES, CLASSES, momentum=0.5)


@pytest.mark.slow
def test_the_largest_networks():
    deep = kdt.recipes.resnet((32, 32, 3), 10, depth=110)
    assert trainable_parameters(deep) == 1_727_962
