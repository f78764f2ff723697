"""The tuning script in one process; its cluster is tested with the launcher."""

import os

import pytest
from recipes.test_scripts import script

from keras_deeptricks.tuners import SearchResult, launcher

# Keras Tuner asks for the name of the thread in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:.*(currentThread|getName).*:DeprecationWarning")


def test_searches_prints_and_saves(tmp_path, capsys):
    options = ["--quick", "--trials", "2", "--epochs", "1", "--dataset", "diabetes"]
    found = script("tune").main([*options, "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "best val_data_loss" in printed
    assert "on the test rows" in printed
    assert len(found.trials) == 2
    assert (tmp_path / "result" / "search.png").stat().st_size > 10_000
    assert SearchResult.load(tmp_path / "result").summary() == found.summary()


def test_an_interrupted_cluster_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def launch(command, workers, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "launch", launch)
    with pytest.raises(SystemExit) as ended:
        script("tune").main(["--workers", "2", "--directory", str(tmp_path)])
    assert ended.value.code == 130
    assert "goes on" in capsys.readouterr().out


def test_each_worker_has_a_name_of_its_own(monkeypatch):
    tune = script("tune")
    monkeypatch.setattr(tune, "_search", lambda options: os.environ["KERASTUNER_TUNER_ID"])
    for name in ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"):
        monkeypatch.setenv(name, "")  # put back behind the test
    monkeypatch.setenv("no_grpc_proxy", "")
    monkeypatch.setattr("socket.gethostname", lambda: "chief node")
    assert tune.main(["--role", "worker"]) == f"host-node-{os.getpid()}"
    assert tune.main(["--role", "worker", "--worker-id", "gpu3"]) == "gpu3"
    assert tune.main(["--role", "chief"]) == "chief"
    assert os.environ["no_grpc_proxy"] == "127.0.0.1"  # noqa: SIM112 - its name for gRPC


def test_workers_get_the_options_but_their_number(tmp_path, monkeypatch, capsys):
    started = {}

    def launch(command, workers, **options):
        started.update(command=command, workers=workers, **options)
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "summary.txt").write_text("best val_accuracy 1\n")
        return launcher.Launch(0, {}, (), 1.0, {})

    monkeypatch.setattr(launcher, "launch", launch)
    arguments = ["--trials", "3", "--workers", "2", "--directory", str(tmp_path), "--seed", "5"]
    assert script("tune").main(arguments) is None
    assert started["workers"] == 2
    assert started["port"] is None
    assert started["command"][2:] == [*arguments[:2], *arguments[4:]]
    assert capsys.readouterr().out == "best val_accuracy 1\n"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--workers", "2", "--role", "chief"], "without --role"),
        (["--role", "worker", "--worker-id", "chief2"], "must not contain the word chief"),
        (["--role", "worker", "--chief", "8000"], "must be ADDRESS:PORT"),
        (["--tuner", "annealing"], "--tuner"),
        (["--workers", "0"], "--workers"),
        (["--trials", "-1"], "--trials"),
    ],
)
def test_bad_options(options, message, capsys):
    with pytest.raises(SystemExit):
        script("tune").main(options)
    assert message in capsys.readouterr().err
