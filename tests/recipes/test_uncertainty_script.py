"""The script on uncertainty: what it measures, prints and draws."""

import numpy as np
import pytest
import recipe_scripts

import keras_deeptricks as kdt


@pytest.fixture(scope="module")
def script():
    return recipe_scripts.script("uncertainty")


def run(script, dataset, folder, *more):
    found = script.main(["--quick", "--dataset", dataset, "--output", str(folder), *more])
    for tables in found:
        for rows in tables.values():
            assert all(np.isfinite(value) for row in rows.values() for value in row.values())
    return found


def test_images(script, tmp_path, capsys):
    (tables,) = run(script, "digits", tmp_path)
    scores = tables["on the test rows"]
    single, passes = scores["a single predict"], scores["Monte-Carlo passes"]
    assert passes["accuracy"] > 0.8
    assert passes["accuracy, surest half"] >= passes["accuracy"]
    assert passes["negative log-likelihood"] < single["negative log-likelihood"] + 0.1
    doubts = tables["like and unlike"]
    assert {"test images", "rotated by 90°", "pure noise"} <= set(doubts)
    for row in doubts.values():
        assert 0 < row["mutual information"] < row["entropy"] < np.log(10)
    assert doubts["pure noise"]["of mutual information"] > 0.6
    for name in ("entropies", "reliability", "rejection", "most_doubtful"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert kdt.recipes.TrainingRun.load(tmp_path).settings["seed"] == 0
    printed = capsys.readouterr().out
    assert str(tmp_path) in printed
    assert "| on the test rows | accuracy |" in printed


def test_regression_over_seeds(script, tmp_path, capsys):
    found = run(script, "diabetes", tmp_path, "--seeds", "2", "--epochs", "10")
    assert len(found) == 2
    assert found[0] != found[1]
    for tables in found:
        passes = tables["on the test rows"]["Monte-Carlo passes"]
        assert 40 < passes["RMSE"] < 80
        assert passes["coverage of 95 %"] > 0.8
        spreads = [row["std of the passes"] for row in tables["far outside"].values()]
        assert np.all(np.diff(spreads) > 0)
    for name in ("intervals", "reliability", "rejection", "far_outside"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    rmses = [tables["on the test rows"]["Monte-Carlo passes"]["RMSE"] for tables in found]
    error = abs(rmses[0] - rmses[1]) / 2
    assert f"{np.mean(rmses):.1f} ± {error:.1f}" in capsys.readouterr().out


def test_detection(script):
    assert script.detection(np.array([0.1, 0.3]), np.array([0.4, 0.2])) == 0.75


def test_the_same_unlike_images_for_equal_seeds(script):
    x = kdt.datasets.load("digits").x_test
    first, again = (script.unlike_images("digits", x, 1) for _ in range(2))
    for name, images in first.items():
        assert np.array_equal(images, again[name])
        assert images.shape == x.shape
        assert images.min() >= 0
        assert images.max() <= 16


@pytest.mark.parametrize(
    "options", [["--dataset", "breast_cancer"], ["--dropout", "0"], ["--seeds", "0"]]
)
def test_bad_options(script, options, capsys):
    with pytest.raises(SystemExit):
        script.main(options)
    assert options[0] in capsys.readouterr().err
