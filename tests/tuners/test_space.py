"""Search spaces: changes of the caller, conditions, and what Keras Tuner gets to see."""

import keras_tuner
import pytest

from keras_deeptricks.tuners.space import SearchSpace, choice, flag, integer, number


def hyperparameters():
    return [
        choice("rate", ("found", "searched")),
        number(
            "learning_rate",
            1e-4,
            1.0,
            0.02,
            scale="log",
            bounds={"above": 0},
            parent=("rate", ("searched",)),
            fixes_parent=True,
        ),
        choice("network", ("a", "b", "c")),
        integer("depth", 1, 4, 2, parent=("network", ("a", "b"))),
        flag("wide"),
        integer("batch_size", 16, 128, 32, scale="log", step=2),
    ]


def declared(changes=None, **values):
    """The values that a search gets, and the Keras Tuner hyperparameters by name."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    got = SearchSpace(hyperparameters(), changes).declare_all(hp)
    return got, {p.name: p for p in hp.space}


def test_defaults_come_first_and_conditions_hold():
    values, known = declared()
    assert values == {
        "rate": "found",
        "network": "a",
        "depth": 2,
        "wide": False,
        "batch_size": 32,
    }
    # What does not apply is declared all the same.
    assert set(known) == {
        "rate", "learning_rate", "network", "depth", "wide", "batch_size"
    }  # fmt: skip
    assert [p.values for p in known["depth"].conditions] == [["a", "b"]]
    assert declared(rate="searched")[0]["learning_rate"] == 0.02
    assert "depth" not in declared(network="c")[0]


def test_a_value_fixes():
    values, known = declared({"depth": 7, "wide": True, "batch_size": 10})
    assert (values["depth"], values["wide"], values["batch_size"]) == (7, True, 10)
    assert all(type(known[name]).__name__ == "Fixed" for name in ("depth", "wide", "batch_size"))


def test_a_pair_is_a_range_on_the_same_scale():
    _, known = declared({"learning_rate": (1e-3, 0.01), "batch_size": (8, 40), "depth": (3, 9)})
    rate, size, depth = (known[name] for name in ("learning_rate", "batch_size", "depth"))
    assert (rate.min_value, rate.max_value, rate.sampling) == (1e-3, 0.01, "log")
    # The default of 0.02 lies outside.
    assert rate.default == 0.01
    assert list(size.values) == [8, 16, 32]
    assert size.default == 8
    assert (depth.min_value, depth.max_value, depth.default) == (3, 9, 3)


def test_a_list_gives_the_choices():
    values, known = declared({"network": ["c", "b"], "depth": [1, 5], "learning_rate": [0.1, 0.2]})
    assert known["network"].values == ["c", "b"]
    assert values["network"] == "c"
    assert known["depth"].values == [1, 5]
    assert known["learning_rate"].values == [0.1, 0.2]


def test_a_given_rate_is_not_to_be_found():
    values, _ = declared({"learning_rate": 0.3})
    assert values["rate"] == "searched"
    assert values["learning_rate"] == 0.3
    # Where the caller says more, that counts.
    both = SearchSpace(hyperparameters(), {"learning_rate": 0.3, "rate": ["found", "searched"]})
    assert not both["rate"].is_fixed


def test_conditions_that_are_settled_are_left_out():
    _, known = declared({"network": ["a", "b"]})
    assert known["depth"].conditions == []
    _, known = declared({"network": ["a", "c"]})
    assert [p.values for p in known["depth"].conditions] == [["a"]]
    assert "depth" not in SearchSpace(hyperparameters(), {"network": "c"})
    assert "learning_rate" not in declared({"rate": "found"})[1]


def test_random_draws_stay_inside():
    space = SearchSpace(hyperparameters(), {"learning_rate": (0.01, 0.1), "batch_size": (8, 32)})
    hp = keras_tuner.HyperParameters()
    space.declare_all(hp)
    for seed in range(50):
        for p in hp.space:
            value = p.random_sample(seed)
            if p.name == "learning_rate":
                assert 0.01 <= value <= 0.1
            if p.name == "batch_size":
                assert value in (8, 16, 32)


def test_a_space_shows_itself():
    text = str(SearchSpace(hyperparameters(), {"batch_size": 8}))
    assert "learning_rate 0.0001…1 (log)" in text
    assert "network a|b|c" in text
    assert "batch_size = 8" in text


@pytest.mark.parametrize(
    "changes, says",
    [
        ([("depth", 3)], "dictionary"),
        ({"height": 3}, "'height'.*There are rate, learning_rate, network"),
        ({"depth": (5, 2)}, r"space\['depth'\].*low ≤ high"),
        ({"depth": (0, 2)}, r"space\['depth'\].*≥ 1"),
        ({"depth": 2.5}, r"space\['depth'\].*whole"),
        ({"depth": (1, 2, 3)}, r"space\['depth'\].*pair"),
        ({"depth": []}, r"space\['depth'\].*list"),
        ({"learning_rate": (0.0, 1.0)}, r"space\['learning_rate'\].*> 0"),
        ({"network": "d"}, r"space\['network'\].*'a', 'b', 'c'"),
        ({"wide": 1}, r"space\['wide'\].*True or False"),
        ({"network": "c", "depth": 2}, "'depth'.*'network'.*excludes"),
    ],
)
def test_bad_changes(changes, says):
    with pytest.raises((TypeError, ValueError), match=says):
        SearchSpace(hyperparameters(), changes)


def test_zero_is_no_end_of_a_log_scale():
    space = [number("l2", 1e-6, 1e-2, 1e-6, scale="log", bounds={"minimum": 0})]
    assert SearchSpace(space, {"l2": 0.0})["l2"].is_fixed
    with pytest.raises(ValueError, match="log scale"):
        SearchSpace(space, {"l2": (0.0, 0.1)})
