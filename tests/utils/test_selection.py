"""Names, patterns and layers: what they select, and what is refused."""

import keras
import numpy as np
import pytest

from keras_deeptricks.utils.selection import check_patterns, matches, select_layers


@pytest.mark.parametrize(
    "pattern",
    [
        "net/dense_1/kernel",
        "net/dense_1",
        "dense_1/kernel",
        "net",
        "dense_1",
        "kernel",
        "dense_?",
        "dense_*",
        "d*",
        "*_1",
        "*",
        "net/*",
        "*/kernel",
        "dense_[0-9]",
        "dense_.*",
        r"dense_\d",
        "net/.*",
        ".*",
        "(dense|conv)_1",
        "dense_1/(kernel|bias)",
        "n.t",
        "n..",
    ],
)
def test_what_matches(pattern):
    assert matches(pattern, "net/dense_1/kernel")


@pytest.mark.parametrize(
    "pattern",
    [
        "dense",
        "dense_",
        "ense_1",
        "dense_1/",
        "dense_10",
        "dense_1?",
        r"dense_\d\d",
        "net/kernel",
        "ker",
        "Dense_1",
        "conv_*",
        "dense_[2-9]",
        "kernel/dense_1",
        "",
    ],
)
def test_what_does_not_match(pattern):
    assert not matches(pattern, "net/dense_1/kernel")


def test_names_are_told_apart_by_whole_components():
    assert not matches("dense_1", "net/dense_10/kernel")
    assert not matches("net", "subnet/dense/kernel")
    assert matches("dense_*", "net/dense_10/kernel")
    assert matches("a", "a")
    assert not matches("a", "b")


def test_signs_of_shell_patterns_are_not_those_of_regular_expressions():
    # Keras calls the first dense layer "dense", the second "dense_1".
    assert not matches("dense_*", "net/dense/kernel")
    assert not matches("dense_1?", "net/dense_1/kernel")
    assert matches("dense_1?", "net/dense_12/kernel")
    assert not matches("net/*_1", "net/dense/kernel")
    assert not matches("block-*", "net/block/kernel")
    # After a class or a group they are.
    assert matches(r"dense_\d*", "net/dense_/kernel")
    assert matches("dense(_1)?", "net/dense/kernel")
    assert matches("dense_[0-9]*", "net/dense_/kernel")
    assert matches("(?i)DENSE_1", "net/dense_1/kernel")


def test_a_shell_pattern_that_is_no_regular_expression_and_the_reverse():
    assert matches("*_norm", "net/batch_norm/gamma")
    assert not matches("*_norm", "net/batch_normal/gamma")
    assert matches(r"body_\d+", "net/body_12/kernel")
    assert not matches("[", "net/dense/kernel")  # neither of the two


def test_names_with_signs_of_patterns_match_themselves():
    assert matches("a.b", "net/a.b/kernel")
    assert matches("block[1]", "net/block1/kernel")  # as a pattern, in both of the languages
    assert matches(r"block\[1\]", "net/block[1]/kernel")


def layer(name):
    return keras.layers.Dense(2, name=name)


def test_patterns_of_names_layers_and_variables():
    model = keras.Sequential([keras.Input((2,)), layer("dense_1"), layer("dense_2")], name="net")
    first, second = model.layers
    assert check_patterns("exclude", "dense_1") == ("dense_1",)
    assert check_patterns("exclude", first) == ("dense_1",)
    assert check_patterns("exclude", ()) == ()
    assert check_patterns("exclude", ["a", second, "b_*"]) == ("a", "dense_2", "b_*")
    assert set(check_patterns("exclude", {"a", "b"})) == {"a", "b"}
    (pattern,) = check_patterns("exclude", first.kernel)
    assert matches(pattern, first.kernel.path)
    assert not matches(pattern, first.bias.path)
    assert not matches(pattern, second.kernel.path)


def test_a_variable_whose_path_has_signs_of_patterns():
    variable = keras.Variable(np.ones(2), name="a.b(1)")
    (pattern,) = check_patterns("exclude", [variable])
    assert matches(pattern, "a.b(1)")
    assert not matches(pattern, "axb(1)")


@pytest.mark.parametrize("wrong", [None, 3, "", [""], [None], ["a", 3], ("a", ["b"]), 0.5, {3: 4}])
def test_what_is_no_pattern_is_refused_by_name(wrong):
    with pytest.raises(
        TypeError, match=r"`exclude` must be a layer, a variable, a name or pattern"
    ):
        check_patterns("exclude", wrong)


@keras.saving.register_keras_serializable(package="test_selection")
class Block(keras.layers.Layer):
    """Keeps its layers in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layer("first"), layer("second")]

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


def nested_model(built=True):
    body = keras.Sequential([layer("dense_1"), layer("dense_10")], name="body")
    parts = [body, Block(name="block"), layer("head")]
    model = keras.Sequential([keras.Input((2,)), *parts] if built else parts, name="net")
    return model


def names(layers):
    return [layer.name for layer in layers if layer.name != "functional"]


def selected(selection, built=True):
    """The names of what is selected, sorted, but for the graphs inside of models."""
    found = select_layers(nested_model(built), selection)
    return sorted(one.name for one in found if type(one).__name__ != "Functional")


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    "selection, expected",
    [
        ("head", ["head"]),
        ("dense_1", ["dense_1"]),
        ("dense_*", ["dense_1", "dense_10"]),
        (r"dense_\d", ["dense_1"]),
        (["head", "dense_10"], ["dense_10", "head"]),
        ({"head"}, ["head"]),
        (("first", "f.*t"), ["first"]),
    ],
)
def test_layers_by_name_and_pattern(selection, expected, built):
    assert selected(selection, built) == expected


def test_a_name_of_an_outer_layer_stands_for_what_is_in_it_too():
    # By their paths the layers inside are parts of it.
    model = nested_model()
    by_name = select_layers(model, "block")
    assert by_name[0] is model.get_layer("block")
    assert names(by_name) == ["block", "first", "second"]
    assert names(select_layers(model, "block/second")) == ["second"]


def test_layers_by_themselves():
    model = nested_model()
    body = model.get_layer("body")
    assert select_layers(model, body) == [body]
    assert select_layers(model, body.layers[1]) == [body.layers[1]]
    assert select_layers(model, model) == [model]
    assert select_layers(model, [model.get_layer("head"), body, "head"]) == [
        body,
        model.get_layer("head"),
    ]


def test_the_order_is_from_outside_to_inside_whatever_that_of_the_selection():
    model = nested_model()
    wanted = ["dense_10", "head", "second", model]
    assert names(select_layers(model, wanted)) == ["net", "head", "dense_10", "second"]


def test_a_shared_layer_is_selected_once():
    shared = layer("shared")
    model = keras.Sequential([keras.Input((2,)), shared, layer("other"), shared])
    assert select_layers(model, ["shared", shared, "sh.*"]) == [shared]


def test_nothing_selects_nothing():
    assert select_layers(nested_model(), []) == []


@pytest.mark.parametrize("wrong", ["haed", "dense", "conv_*", "", "x["])
def test_a_name_that_is_no_layer_is_an_error_that_names_those_there_are(wrong):
    error, message = (
        (ValueError, f"'{'x.' if wrong == 'x[' else wrong}".replace("*", r"\*"))
        if wrong
        else (TypeError, "`layers` must be a layer")
    )
    with pytest.raises(error, match=message) as caught:
        select_layers(nested_model(), ["head", wrong])
    if wrong:
        assert str(caught.value).endswith("is no layer of 'net'. It has: body, block, head.")


def test_a_layer_of_another_model_is_an_error():
    other = layer("head")  # the name alone does not count
    with pytest.raises(ValueError, match="`layers`: 'head' is no layer of 'net'"):
        select_layers(nested_model(), other)
    model = nested_model()
    with pytest.raises(ValueError, match="`layers`: 'net' is no layer of 'body'"):
        select_layers(model.get_layer("body"), model)


@pytest.mark.parametrize("wrong", [None, 3, [None], [["head"]], 0.5])
def test_what_is_no_selection_is_refused(wrong):
    with pytest.raises(TypeError, match="`layers` must be a layer, a name or pattern of layers"):
        select_layers(nested_model(), wrong)


def test_wrappers_are_looked_into():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            keras.layers.TimeDistributed(layer("inside"), name="each"),
            keras.layers.Bidirectional(keras.layers.GRU(2, name="gru"), name="both"),
        ]
    )
    assert select_layers(model, "inside") == [model.get_layer("each").layer]
    cells = ["gru_cell", "gru_cell"]
    assert names(select_layers(model, "*_gru")) == ["forward_gru", "backward_gru", *cells]
