"""The recipe scripts: what they print and what they leave behind."""

import pytest
from recipe_scripts import script

import keras_deeptricks as kdt


@pytest.mark.parametrize(
    "name, dataset, metric",
    [
        ("default_config", "digits", "accuracy"),
        ("default_config", "diabetes", "rmse"),
        ("self_normalizing", "breast_cancer", "accuracy"),
    ],
)
def test_prints_a_table_and_saves(name, dataset, metric, tmp_path, capsys):
    options = ["--quick", "--dataset", dataset, "--output", str(tmp_path / "out"), "--seeds", "2"]
    runs = script(name).main(options)
    printed = capsys.readouterr().out
    for words in (
        f"test {metric}",
        "epochs",
        "seconds",
        "learning rate",
        "parameters",
        "mean ± se",
    ):
        assert words in printed
    assert str(tmp_path / "out") in printed
    assert (tmp_path / "out" / "run.png").exists()
    again = kdt.recipes.TrainingRun.load(tmp_path / "out")
    assert again.history == runs[0].history
    assert [run.settings["seed"] for run in runs] == [0, 1]


def test_residual_script(tmp_path, capsys):
    options = ["--quick", "--network", "plain_net", "--depth", "8", "--epochs", "1", "--output"]
    (run,) = script("residual").main([*options, str(tmp_path / "out")])
    assert "test accuracy" in capsys.readouterr().out
    assert run.settings["recipe"] == "plain net"
    assert run.settings["augmentation"] == ["RandomTranslation"]
    assert (tmp_path / "out" / "run.png").exists()


def test_doctor_script(tmp_path, capsys):
    found = script("doctor").main(["--output", str(tmp_path)])
    assert found["healthy"].ok
    wanted = {"output_activation_mismatch", "input_scale", "initialization_scale"}
    assert wanted <= set(found["sick"].codes)
    printed = capsys.readouterr().out
    assert "Model 'sick'" in printed
    for name in ("healthy", "sick"):
        assert (tmp_path / f"{name}.html").stat().st_size > 10_000
        assert (tmp_path / f"{name}.png").exists()


def test_residual_script_refuses_what_a_network_has_not(capsys):
    with pytest.raises(SystemExit):
        script("residual").main(["--network", "densenet", "--stochastic-depth", "0.5"])
    assert "no residual blocks" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--epochs", "0"], ["--seed", "-1"], ["--dataset", "iris"]])
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit):
        script("default_config").main(options)
    assert options[0] in capsys.readouterr().err
