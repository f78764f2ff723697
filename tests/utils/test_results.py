"""Results: read-only, and the same after a trip through a file."""

import dataclasses
import json

import numpy as np
import pytest

from keras_deeptricks.utils.results import Result, from_json, to_json


@dataclasses.dataclass(frozen=True, eq=False)
class Measured(Result):
    """A result with one field of each kind."""

    curve: np.ndarray
    label: str
    count: int
    rates: dict
    notes: list
    best: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Other(Result):
    """Another result."""

    curve: np.ndarray


def measured(**changes):
    fields = {
        "curve": np.array([1.5, np.nan, np.inf, -np.inf], "float32"),
        "label": "größer",
        "count": 3,
        "rates": {"valley": 1e-3, "steepest": float("nan"), "inner": {"a": np.float64(0.1)}},
        "notes": ["a", 1, None, True, float("-inf"), np.arange(4).reshape(2, 2)],
        "best": float("inf"),
    }
    return Measured(**{**fields, **changes})


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_file_gives_back_everything(tmp_path, ending):
    path = tmp_path / f"result.{ending}"
    before = measured()
    before.save(path)
    after = Measured.load(str(path))
    np.testing.assert_array_equal(after.curve, before.curve)  # NaN counts as equal to NaN
    assert after.curve.dtype == np.float32
    assert (after.label, after.count, after.best) == ("größer", 3, np.inf)
    assert after.rates["valley"] == 1e-3
    assert np.isnan(after.rates["steepest"])
    assert after.rates["inner"] == {"a": 0.1}
    assert after.notes[:5] == before.notes[:5]
    assert type(after.notes[3]) is bool
    np.testing.assert_array_equal(after.notes[5], [[0, 1], [2, 3]])
    assert after.notes[5].dtype == before.notes[5].dtype


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.array(2.5),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array([2**62], "int64"),
        # The shortest decimal of a float comes back as the same float.
        np.random.default_rng(0).normal(size=(3, 2)),
        np.random.default_rng(0).normal(size=3).astype("float16"),
    ],
    ids=["empty", "scalar", "bool", "text", "long", "float64", "float16"],
)
def test_every_kind_of_array_comes_back_exactly(tmp_path, ending, array):
    path = tmp_path / f"result.{ending}"
    Other(array).save(path)
    loaded = Other.load(path).curve
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


def test_arrays_are_copies_that_cannot_be_written_to(tmp_path):
    given = np.ones(2)
    result = Other(given)
    with pytest.raises(ValueError, match="read-only"):
        result.curve[0] = 5
    given[0] = 7  # the caller's array stays the caller's
    assert result.curve[0] == 1
    result.save(tmp_path / "r.npz")
    with pytest.raises(ValueError, match="read-only"):
        Other.load(tmp_path / "r.npz").curve[0] = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.curve = given


def test_arrays_in_containers_are_read_only_copies_too():
    given = np.ones(2)
    result = measured(rates={"a": [given]}, notes=(given, {"b": given}))
    given[0] = 7
    for array in (result.rates["a"][0], result.notes[0], result.notes[1]["b"]):
        assert array[0] == 1
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_arrays_in_containers_are_stored_in_binary(tmp_path):
    path, array = tmp_path / "r.npz", np.random.default_rng(0).normal(size=1000)
    measured(rates={"a": array, "b": [array + 1]}).save(path)
    with np.load(path) as file:
        assert "__array__" not in str(file["__others__"])
    loaded = Measured.load(path)
    np.testing.assert_array_equal(loaded.rates["a"], array, strict=True)
    np.testing.assert_array_equal(loaded.rates["b"][0], array + 1, strict=True)


def test_a_file_with_nested_arrays_in_text_can_still_be_read(tmp_path):
    before = measured()
    others = {name: to_json(getattr(before, name)) for name in ("label", "count", "rates", "best")}
    others["notes"] = to_json([np.arange(3)])
    np.savez(tmp_path / "r.npz", __others__=np.array(json.dumps(others)), curve=before.curve)
    np.testing.assert_array_equal(Measured.load(tmp_path / "r.npz").notes[0], [0, 1, 2])


def test_the_json_file_is_standard_json(tmp_path):
    measured().save(tmp_path / "r.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["count"] == 3


def test_numpy_scalars_and_tuples_become_plain():
    assert to_json((np.int64(1), np.bool_(True), np.float32(0.5))) == [1, True, 0.5]
    assert from_json(to_json({"a": (1, 2)})) == {"a": [1, 2]}


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_the_file_of_another_result_is_refused(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    Other(np.ones(2)).save(path)
    with pytest.raises(ValueError, match=r"does not hold a Measured.*\['curve'\]"):
        Measured.load(path)


@pytest.mark.parametrize("text", ["[1, 2]", "5", "no json"])
def test_a_json_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError):
        Other.load(tmp_path / "r.json")


def test_an_npz_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "r.npz", weights=np.ones(2))
    with pytest.raises(ValueError, match="does not hold a Other"):
        Other.load(tmp_path / "r.npz")


@pytest.mark.parametrize("name", ["r.txt", "r", "r.pickle"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"`path` must end in .json or .npz"):
        Other(np.ones(1)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"`path` must end in .json or .npz"):
        Other.load(tmp_path / name)


def test_a_result_is_drawn_by_the_function_it_names(monkeypatch):
    from keras_deeptricks import visualization

    monkeypatch.setattr(visualization, "plot_other", lambda result, ax: (result, ax), raising=False)

    class Drawn(Other):
        plot_function = "plot_other"

    result = Drawn(np.ones(1))
    assert result.plot(ax="axes") == (result, "axes")
