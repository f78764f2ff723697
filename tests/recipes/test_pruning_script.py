"""The script on pruning: what it measures, prints and draws."""

import keras
import numpy as np
import pytest
import recipe_scripts

import keras_deeptricks as kdt


@pytest.fixture(scope="module")
def script():
    return recipe_scripts.script("pruning")


def test_digits(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "QUICK_FRACTIONS", (0, 0.5))
    options = ["--quick", "--hidden-units", "30", "--learning-rate", "0.02", "--saliency-rows"]
    found = script.main([*options, "300", "--output", str(tmp_path)])
    weights, units = found["weights"], found["units"]
    assert weights.saliencies == ["random", "weight_magnitude", "optimal_brain_damage"]
    assert weights.retrained.shape == (3, 2, 1)
    assert weights.whole[0] > 0.7
    random, magnitude, damage = weights.scores[:, 1, 0]
    assert min(magnitude, damage) > random
    assert units.units
    assert units.saliencies == list(script.UNIT_SALIENCIES)
    assert np.isfinite(found["loss_increase"].measured).all()
    (small,) = found["small"]
    # `shrink` changes no prediction.
    assert small["accuracy"][3] == pytest.approx(small["accuracy"][2], abs=1e-6)
    assert small["after"]["parameters"] < 0.6 * small["before"]["parameters"]
    for name in ("weights", "units", "loss_increase", "sparsity"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert (tmp_path / f"{name}.json").exists()
    again = kdt.diagnostics.PruningCurves.load(tmp_path / "weights.json")
    np.testing.assert_array_equal(again.scores, weights.scores)
    assert keras.saving.load_model(tmp_path / "small.keras").count_params() > 0
    printed = capsys.readouterr().out
    assert "by the share of weights pruned" in printed
    assert "| accuracy |" in printed
    assert str(tmp_path) in printed


@pytest.mark.parametrize(
    "options", [["--dataset", "diabetes"], ["--retrain-epochs", "0"], ["--saliency-rows", "0"]]
)
def test_bad_options(script, options, capsys):
    with pytest.raises(SystemExit):
        script.main(options)
    assert options[0] in capsys.readouterr().err
