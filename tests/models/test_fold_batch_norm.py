"""Folding a batch norm into one layer: by hand, then for every kind of layer and path."""

import keras
import numpy as np
import pytest
from folding_models import assert_folds, assert_keeps, chain, inputs_of, norms, randomize
from keras import layers, ops
from small_models import values

import keras_deeptricks as kdt

FIRST = {"data_format": "channels_first"}


def norm(name="norm", **options):
    return layers.BatchNormalization(name=name, **options)


def test_dense_by_hand():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="linear"), norm(epsilon=0)])
    dense, batch_norm = model.layers
    dense.set_weights([np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0])])
    # gamma, beta, mean, variance
    batch_norm.set_weights([np.array(v) for v in ([2.0, -1], [0.5, 0.25], [3.0, 1], [4.0, 0.25])])
    folded = kdt.models.fold_batch_norm(model)
    # Scales 2/√4 = 1 and −1/√¼ = −2; (1 − 3)·1 + 0.5 = −1.5 and (−1 − 1)·(−2) + 0.25 = 4.25.
    kernel, bias = folded.get_layer("linear").get_weights()
    np.testing.assert_array_equal(kernel, [[1, -4], [3, -8]])
    np.testing.assert_array_equal(bias, [-1.5, 4.25])


def test_forward_by_hand():
    model = keras.Sequential([keras.Input((2,)), norm(epsilon=0), layers.Dense(1, name="linear")])
    batch_norm, dense = model.layers
    batch_norm.set_weights([np.array(v) for v in ([2.0, -1], [0.5, 0.25], [3.0, 1], [4.0, 0.25])])
    dense.set_weights([np.array([[2.0], [3.0]]), np.array([1.0])])
    kernel, bias = kdt.models.fold_batch_norm(model).get_layer("linear").get_weights()
    # Scales 1 and −2, shifts 0.5 − 3 = −2.5 and 0.25 + 2 = 2.25; 1 − 2·2.5 + 3·2.25 = 2.75.
    np.testing.assert_array_equal(kernel, [[2], [-6]])
    np.testing.assert_array_equal(bias, [2.75])


LINEAR = {
    "dense": ((5,), layers.Dense, (4,), {}),
    "dense_rows": ((6, 5), layers.Dense, (4,), {}),
    "conv1d": ((9, 4), layers.Conv1D, (6, 3), {"strides": 2}),
    "conv1d_causal": ((9, 4), layers.Conv1D, (6, 3), {"padding": "causal", "dilation_rate": 2}),
    "conv2d": ((7, 8, 4), layers.Conv2D, (6, 3), {"padding": "same", "strides": 2}),
    "conv2d_groups": ((7, 8, 4), layers.Conv2D, (6, 3), {"groups": 2, "dilation_rate": 2}),
    "conv2d_first": ((4, 7, 8), layers.Conv2D, (6, 3), FIRST),
    "conv3d": ((5, 4, 6, 3), layers.Conv3D, (4, 2), {}),
    "conv1d_transpose": ((6, 4), layers.Conv1DTranspose, (3, 3), {"strides": 2}),
    "conv2d_transpose": ((5, 6, 4), layers.Conv2DTranspose, (3, 3), {"padding": "same"}),
    "conv3d_transpose": ((3, 4, 3, 4), layers.Conv3DTranspose, (3, 2), {"strides": 2}),
    "depthwise1d": ((9, 4), layers.DepthwiseConv1D, (3,), {}),
    "depthwise2d": ((7, 8, 4), layers.DepthwiseConv2D, (3,), {"depth_multiplier": 3}),
    "depthwise2d_strides": ((7, 8, 4), layers.DepthwiseConv2D, (3,), {"strides": 2}),
    "depthwise2d_first": (
        (4, 7, 8),
        layers.DepthwiseConv2D,
        (2,),
        {"depth_multiplier": 2, **FIRST},
    ),
    "separable1d": ((9, 4), layers.SeparableConv1D, (6, 3), {}),
    "separable2d": ((7, 8, 4), layers.SeparableConv2D, (6, 3), {"depth_multiplier": 2}),
}


def branches(shape, *rows):
    """A model of rows of layers from one input to as many outputs."""
    inputs = keras.Input(shape)
    outputs = []
    for row in rows:
        tensor = inputs
        for part in row:
            tensor = part(tensor)
        outputs.append(tensor)
    return randomize(keras.Model(inputs, outputs, name="model"))


@pytest.mark.parametrize("case", LINEAR)
def test_backward_into_every_layer(case):
    shape, kind, arguments, options = LINEAR[case]
    axis = 1 if options.get("data_format") == "channels_first" else -1
    rows = [
        (
            kind(*arguments, use_bias=use_bias, name=f"linear_{use_bias}", **options),
            norm(f"norm_{use_bias}", axis=axis),
            layers.Activation("tanh"),
        )
        for use_bias in (True, False)
    ]
    model = branches(shape, *rows)
    folded = assert_folds(model, "linear_True < norm_True", "linear_False < norm_False")
    assert folded.get_layer("linear_False").use_bias
    assert {layer.name for layer in folded.layers} == {
        layer.name for layer in model.layers if not layer.name.startswith("norm")
    }


FORWARD = {
    **{name: LINEAR[name] for name in ("dense", "dense_rows", "conv1d", "conv2d_groups", "conv3d")},
    **{name: LINEAR[name] for name in ("conv2d_first", "depthwise1d", "depthwise2d")},
    **{name: LINEAR[name] for name in ("depthwise2d_first", "separable1d", "separable2d")},
    "conv1x1_same": ((7, 8, 4), layers.Conv2D, (6, 1), {"padding": "same", "strides": 2}),
    "transpose1x1": ((5, 6, 4), layers.Conv2DTranspose, (3, 1), {}),
}


@pytest.mark.parametrize("case", FORWARD)
def test_forward_into_every_layer(case):
    shape, kind, arguments, options = FORWARD[case]
    axis = 1 if options.get("data_format") == "channels_first" else -1
    rows = [
        (
            layers.ReLU(),
            norm(f"norm_{use_bias}", axis=axis),
            kind(
                *arguments,
                use_bias=use_bias,
                activation="tanh",
                name=f"linear_{use_bias}",
                **options,
            ),
        )
        for use_bias in (True, False)
    ]
    model = branches(shape, *rows)
    assert_folds(model, "norm_True > linear_True", "norm_False > linear_False")


@pytest.mark.parametrize(
    "equation, shape, output, bias_axes, axis",
    [
        ("abc,cd->abd", (6, 5), (None, 4), "d", -1),
        ("abc,cd->abd", (6, 5), (None, 4), None, 2),
        ("...x,xy->...y", (6, 5), 4, None, -1),
        ("abc,cde->abde", (6, 5), (None, 2, 3), "e", -1),
        ("abc,cde->abde", (6, 5), (None, 2, 3), "e", 2),
        ("abc,cde->abde", (6, 5), (None, 2, 3), "de", 2),
        ("abc,bcd->abd", (6, 5), (6, 4), "bd", 1),
        ("ab...,bc->ac...", (5, 2, 3), (4,), "c", 1),
        ("ab...,bc->ac...", (5, 2, 3), (4,), None, 1),
        ("ab,bc->ac", (5,), 1, None, -1),
    ],
)
def test_einsum_dense(equation, shape, output, bias_axes, axis):
    def linear():
        return layers.EinsumDense(equation, output, bias_axes=bias_axes, name="linear")

    assert_folds(chain(shape, linear(), norm(axis=axis)), "linear < norm")


@pytest.mark.parametrize(
    "equation, shape, output, bias_axes, axis",
    [
        ("abc,cd->abd", (6, 5), (None, 4), None, -1),
        ("...x,xy->...y", (6, 5), 4, "y", -1),
        ("abcd,cde->abe", (6, 2, 3), (None, 4), "e", -1),
        ("abcd,cde->abe", (6, 2, 3), (None, 4), None, 2),
        ("abc,bcd->abd", (6, 5), (6, 4), "d", 1),
        ("ab...,bc->ac...", (5, 2, 3), (4,), "c", 1),
    ],
)
def test_einsum_dense_forward(equation, shape, output, bias_axes, axis):
    linear = layers.EinsumDense(equation, output, bias_axes=bias_axes, name="linear")
    assert_folds(chain(shape, norm(axis=axis), linear), "norm > linear")


def test_einsum_dense_without_a_place_is_left():
    def linear(*arguments, **options):
        return layers.EinsumDense(*arguments, name="linear", **options)

    rows = linear("abc,cd->abd", (6, 4))
    assert_keeps(chain((6, 5), rows, norm(axis=1)), "axis of 'linear' that its kernel does not")
    summed = linear("abc,cd->ad", 4)
    assert_keeps(chain((6, 5), norm(), summed), "no place in the equation")
    inner = linear("abc,c->ab", 6)
    assert_keeps(chain((6, 5), layers.ReLU(), norm(), inner), "no place in the equation")


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_batch_norms_without_scale_or_center(scale, center):
    options = {"scale": scale, "center": center, "epsilon": 0.1}
    assert_folds(chain((5,), layers.Dense(4, name="linear"), norm(**options)), "linear < norm")
    assert_folds(chain((5,), norm(**options), layers.Dense(4, name="linear")), "norm > linear")


CROSSED = {
    "flatten": ((4, 5, 3), layers.Flatten, {}, layers.Dense, (6,)),
    "flatten_first": ((3, 4, 5), layers.Flatten, FIRST, layers.Dense, (6,)),
    "reshape": ((4, 6), layers.Reshape, {"target_shape": (24,)}, layers.Dense, (5,)),
    "reshape_split": ((4, 6), layers.Reshape, {"target_shape": (2, 2, 6)}, layers.Dense, (5,)),
    "permute": ((4, 6), layers.Permute, {"dims": (2, 1)}, None, None),
    "average": ((6, 6, 3), layers.AveragePooling2D, {"pool_size": 2}, layers.Conv2D, (4, 2)),
    "average_first": (
        (3, 6, 6),
        layers.AveragePooling2D,
        {"pool_size": 2, **FIRST},
        layers.Conv2D,
        (4, 2),
    ),
    "global_average": ((6, 6, 3), layers.GlobalAveragePooling2D, {}, layers.Dense, (4,)),
    "global_first": ((3, 6, 6), layers.GlobalAveragePooling2D, FIRST, layers.Dense, (4,)),
    "global_kept": (
        (6, 6, 3),
        layers.GlobalAveragePooling2D,
        {"keepdims": True},
        layers.Conv2D,
        (4, 1),
    ),
    "dropout": ((6, 3), layers.Dropout, {"rate": 0.5}, layers.Dense, (4,)),
    "spatial_dropout": ((6, 3), layers.SpatialDropout1D, {"rate": 0.5}, layers.Conv1D, (4, 2)),
    "noise": ((6, 3), layers.GaussianNoise, {"stddev": 0.5}, layers.Dense, (4,)),
    "identity": ((6, 3), layers.Identity, {}, layers.Dense, (4,)),
    "linear": ((6, 3), layers.Activation, {"activation": "linear"}, layers.Dense, (4,)),
}


@pytest.mark.parametrize("case", CROSSED)
def test_forward_across(case):
    shape, kind, options, linear, arguments = CROSSED[case]
    first = options.get("data_format") == "channels_first"
    if linear is None:
        # Behind the permutation the channels are on axis 1.
        linear, arguments = layers.EinsumDense, ("abc,bd->adc", (5, 4))
    more = {"data_format": "channels_first"} if first and linear is layers.Conv2D else {}
    model = chain(
        shape,
        layers.ReLU(),
        norm(axis=1 if first else -1),
        kind(name="between", **options),
        linear(*arguments, name="linear", **more),
    )
    assert_folds(model, "norm > linear", across=["between"])


BACKWARD_ACROSS = {
    "reshape": ((5,), layers.Dense, (24,), layers.Reshape, {"target_shape": (2, 3, 4)}, -1),
    "reshape_first": ((5,), layers.Dense, (24,), layers.Reshape, {"target_shape": (4, 6)}, 1),
    "permute": ((6, 3), layers.Dense, (4,), layers.Permute, {"dims": (2, 1)}, 1),
    "average": ((6, 6, 3), layers.Conv2D, (4, 3), layers.AveragePooling2D, {"pool_size": 2}, -1),
    "global": ((6, 6, 3), layers.Conv2D, (4, 3), layers.GlobalAveragePooling2D, {}, -1),
    "dropout": ((6, 3), layers.Dense, (4,), layers.Dropout, {"rate": 0.5}, -1),
}


@pytest.mark.parametrize("case", BACKWARD_ACROSS)
def test_backward_across(case):
    shape, linear, arguments, kind, options, axis = BACKWARD_ACROSS[case]
    between = kind(name="between", **options)
    model = chain(shape, linear(*arguments, name="linear"), between, norm(axis=axis))
    folded = assert_folds(model, "linear < norm", across=["between"])
    assert folded.layers[-1].name == "norm"  # an Identity that keeps the output's name


def test_backward_across_flatten_needs_equal_channels():
    # Each of the flat entries has its own scale, a kernel only one for each channel.
    model = chain((4, 3), layers.Conv1D(2, 1, name="linear"), layers.Flatten(), norm())
    assert_keeps(model, "does not normalize the channels of 'linear'")
    assert_folds(
        chain((1, 3), layers.Conv1D(2, 1, name="linear"), layers.Flatten(), norm()),
        "linear < norm",
    )


@pytest.mark.parametrize("pooling", [layers.MaxPooling2D, layers.GlobalMaxPooling2D])
def test_maxima_are_crossed_by_scales_that_are_not_negative(pooling):
    def model():
        parts = layers.ReLU(), norm(), pooling(), layers.Flatten()
        return chain((6, 6, 3), *parts, layers.Dense(4, name="linear"))

    assert_keeps(model(), "some of the scales are negative")
    positive = model()
    positive.get_layer("norm").gamma.assign([0.0, 1.0, 2.0])
    assert_folds(positive, "norm > linear")


@pytest.mark.parametrize(
    "linear",
    [
        lambda: layers.Conv2D(4, 3, padding="same", name="linear"),
        lambda: layers.Conv2DTranspose(4, 3, name="linear"),
        lambda: layers.DepthwiseConv2D(3, padding="same", name="linear"),
        lambda: layers.SeparableConv2D(4, 3, padding="same", name="linear"),
    ],
)
def test_zeros_at_the_border_let_only_scales_pass(linear):
    def model():
        return chain((6, 6, 3), layers.ReLU(), norm(), linear())

    assert_keeps(model(), "'linear' sees zeros at the borders")
    without_shift = model()
    without_shift.get_layer("norm").beta.assign([0, 0, 0])
    without_shift.get_layer("norm").moving_mean.assign([0, 0, 0])
    assert_folds(without_shift, "norm > linear")


def test_causal_padding_and_padding_layers_are_zeros_too():
    causal = layers.Conv1D(4, 3, padding="causal", name="linear")
    assert_keeps(chain((6, 3), norm(), causal), "'linear' sees zeros")
    padded = layers.ZeroPadding2D(name="padding"), layers.Conv2D(4, 3, name="linear")
    assert_keeps(chain((6, 6, 3), layers.ReLU(), norm(), *padded), "'padding' adds zeros")
    average = layers.AveragePooling2D(2, padding="same"), layers.Conv2D(4, 1)
    assert_keeps(chain((5, 5, 3), layers.ReLU(), norm(), *average), "averages over its padding")


def test_activation_inside_folds_forward():
    model = chain(
        (8, 8, 3),
        layers.Conv2D(4, 3, activation="relu", name="first"),
        norm(),
        layers.Conv2D(5, 3, name="second"),
    )
    assert_folds(model, "norm > second")
    model = chain((8, 8, 3), layers.Conv2D(4, 3, activation="relu", name="first"), norm())
    assert_keeps(model, "'first' has an activation inside (relu)")


def test_both_sides_of_one_layer():
    model = chain((8, 8, 3), norm("before"), layers.Conv2D(4, 3, name="linear"), norm("behind"))
    folded = assert_folds(model, "before > linear", "linear < behind")
    assert [layer.name for layer in folded.layers[1:]] == ["linear", "behind"]


def test_batch_norms_in_a_row():
    model = chain((5,), layers.Dense(4, name="linear"), norm("first"), norm("second"), norm("last"))
    assert_folds(model, "linear < first", "linear < second", "linear < last")
    model = chain((5,), layers.ReLU(), norm("first"), norm("second"), layers.ReLU())
    folded = assert_folds(model, "first > second", kept=1)
    assert norms(folded)[0].name == "second"
    model = chain((5,), norm("first", scale=False), norm("second", center=False), layers.ReLU())
    assert_folds(model, "first > second", kept=1)


def test_an_axis_that_is_not_the_channels_is_left():
    assert_keeps(
        chain((6, 5), layers.Dense(4, name="linear"), norm(axis=1)), "the channels of 'linear'"
    )
    assert_keeps(
        chain((6, 5), layers.Conv1D(4, 2, name="linear"), norm(axis=1)), "the channels of 'linear'"
    )
    pooled = layers.GlobalAveragePooling1D(name="pool"), layers.Dense(2)
    assert_keeps(chain((6, 5), layers.ReLU(), norm(axis=1), *pooled), "'pool'")


@keras.saving.register_keras_serializable(package="test_fold_batch_norm")
class OtherConv(layers.Conv2D):
    """Computes something else than its base."""

    def call(self, inputs):
        return super().call(2 * inputs)


@keras.saving.register_keras_serializable(package="test_fold_batch_norm")
class OtherNorm(layers.BatchNormalization):
    """A batch norm that could be anything."""


def test_what_may_compute_otherwise_is_left():
    model = chain((6, 6, 3), OtherConv(4, 3, name="linear"), norm())
    assert_keeps(model, "'linear' is a OtherConv, a subclass of Conv2D")
    assert_keeps(chain((5,), layers.Dense(4), OtherNorm()), "subclass of BatchNormalization")
    constrained = layers.Dense(4, kernel_constraint="max_norm", name="linear")
    assert_keeps(chain((5,), constrained, norm()), "'linear' has a constraint (kernel_constraint)")
    lora = chain((5,), layers.Dense(4, name="linear"), norm())
    lora.get_layer("linear").enable_lora(2)
    assert_keeps(lora, "'linear'")
    assert_keeps(chain((6, 5), layers.TimeDistributed(norm(), name="each")), "inside 'each'")
    assert_keeps(chain((5,), norm(), layers.ReLU()), "its input is an input of the model")


def test_quantized_layers_are_left():
    model = chain((5,), layers.Dense(4, name="linear"), norm())
    model.get_layer("linear").quantize("int8")
    assert_keeps(model, "'linear' is quantized")


def test_training_hard_wired():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, name="linear")(inputs)
    model = keras.Model(inputs, norm()(hidden, training=True), name="model")
    folded = assert_keeps(randomize(model), "called with training=True")
    # With the statistics of the batch the means are those that the shifts say. (`predict` tells
    # every layer that it is not training, whatever the graph was built with.)
    outputs = ops.convert_to_numpy(folded(inputs_of(model)))
    beta = folded.get_layer("norm").get_weights()[1]
    np.testing.assert_allclose(outputs.mean(axis=0), beta, atol=1e-5)
    frozen = keras.Model(inputs, norm()(hidden, training=False), name="model")
    assert_folds(randomize(frozen), "linear < norm")


def test_dropout_that_is_always_on_is_not_crossed():
    inputs = keras.Input((5,))
    dropped = layers.Dropout(0.5, name="drop")(layers.ReLU()(norm("first")(inputs)), training=True)
    model = keras.Model(inputs, layers.Dense(3)(norm("last")(dropped)), name="model")
    folded, report = kdt.models.fold_batch_norm(randomize(model), report=True)
    assert [entry["batch_norm"] for entry in report.folded] == ["last"]
    outputs = ops.convert_to_numpy(folded(np.ones((64, 5), "float32")))
    assert np.std(outputs, axis=0).min() > 0.01
    behind = keras.Model(
        inputs,
        norm()(layers.Dropout(0.5, name="drop")(layers.Dense(4)(inputs), training=True)),
        name="model",
    )
    assert_keeps(randomize(behind), "'drop' (Dropout) lies between")


def test_dropout_can_be_kept_for_monte_carlo():
    parts = norm(), layers.Dropout(0.5, name="drop"), layers.Dense(4)
    model = chain((5,), layers.ReLU(), *parts)
    assert_keeps(model, "'drop' (Dropout) lies between", through_dropout=False)
    ours = chain(
        (5,), layers.ReLU(), norm(), kdt.layers.MCDropout(0.5, name="drop"), layers.Dense(4)
    )
    assert_keeps(ours, "'drop' (MCDropout)")


def test_an_input_far_from_zero_keeps_its_batch_norm():
    # Folded, the mean would be subtracted only after a sum of large numbers was rounded.
    model = chain((5,), norm(), layers.Dense(4))
    model.get_layer("norm").moving_mean.assign([2000.0] * 5)
    model.get_layer("norm").gamma.assign([1.0] * 5)
    assert_keeps(model, "too far from zero")


def test_numbers_that_are_none_are_left():
    model = chain((5,), layers.Dense(4, name="linear"), norm())
    model.get_layer("norm").moving_variance.assign([1.0, np.nan, 1.0, 1.0])
    assert_keeps(model, "the weights of 'linear' would overflow")


def test_whole_numbers_as_input_are_left():
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(4)(norm()(inputs)), name="model")
    assert_keeps(randomize(model), "whole numbers")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    parts = (
        layers.Conv2D(4, 3, name="linear"),
        norm(dtype="float32"),
        layers.ReLU(),
        layers.Flatten(),
    )
    model = chain((6, 6, 3), *parts, norm("last"), layers.Dense(3, dtype="float32", name="head"))
    # A rounding of 2⁻¹¹ or 2⁻⁸ in each of a few layers.
    folded = assert_folds(model, "linear < norm", "last > head", tolerance=0.02)
    assert folded.get_layer("linear").dtype_policy.name == policy
    assert folded.get_layer("linear").kernel.dtype == "float32"


def test_the_output_keeps_its_dtype():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = chain((5,), layers.Dense(4, name="linear"), norm(dtype="float32"))
    folded = assert_folds(model, "linear < norm", tolerance=0.02)
    assert folded.output.dtype == "float32"


def test_the_model_is_untouched_and_nothing_is_shared():
    model = chain((5,), layers.Dense(4), norm(), layers.ReLU(), layers.Dense(2))
    model.compile("sgd", "mse")
    before = values(model.weights)
    folded = kdt.models.fold_batch_norm(model)
    ours = {id(variable) for variable in model.variables}
    assert not ours & {id(variable) for variable in folded.variables}
    x = inputs_of(model)
    told = folded.predict(x, verbose=0)
    for old, new in zip(before, values(model.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.compiled
    model.fit(x, np.zeros((3, 2)), verbose=0)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), told)


def test_nothing_to_fold_warns():
    assert_keeps(keras.Sequential([keras.Input((2,)), layers.Dense(1)], name="plain"), "")


def test_the_report():
    model = chain(
        (8, 8, 3), layers.Conv2D(4, 3, name="linear"), norm(), layers.ReLU(), norm("last")
    )
    _, report = kdt.models.fold_batch_norm(model, report=True)
    assert isinstance(report, kdt.models.BatchNormFolding)
    assert report.folded_names == ["norm"]
    lines = str(report).splitlines()
    assert lines[0] == "1 of 2 batch norms of 'model' folded"
    assert lines[1].split() == ["norm", "linear", "backward"]
    assert lines[2].startswith("last  kept    backward: 're_lu' (ReLU) is not linear")
    assert "forward: an output of the model depends on it directly" in lines[2]


def test_the_report_as_a_file(tmp_path):
    model = chain((5,), layers.Dense(4, name="linear"), norm())
    _, report = kdt.models.fold_batch_norm(model, report=True)
    report.save(tmp_path / "report.json")
    assert str(kdt.models.BatchNormFolding.load(tmp_path / "report.json")) == str(report)


def test_arguments():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    model = chain((5,), layers.Dense(4), norm())
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model. Received: model=3"):
        kdt.models.fold_batch_norm(3)
    with pytest.raises(ValueError, match="is a subclassed Subclassed, which has no graph"):
        kdt.models.fold_batch_norm(Subclassed())
    with pytest.raises(ValueError, match="must be built"):
        kdt.models.fold_batch_norm(keras.Sequential([layers.Dense(1)]))
    with pytest.raises(TypeError, match=r"`report` must be True or False. Received: report=1"):
        kdt.models.fold_batch_norm(model, report=1)
    with pytest.raises(TypeError, match="`through_dropout` must be True or False"):
        kdt.models.fold_batch_norm(model, through_dropout=None)


def test_the_name_is_always_the_function():
    import keras_deeptricks.models.fold_batch_norm

    assert callable(keras_deeptricks.models.fold_batch_norm)
    assert kdt.models.fold_batch_norm.__name__ == "fold_batch_norm"
