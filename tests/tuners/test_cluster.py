"""A chief and two workers as processes on loopback; some of them are killed."""

import contextlib
import os
import pathlib
import signal
import sys
import threading
import time

import keras
import pytest
from tuners.cluster_search import Sleeper, oracle

from keras_deeptricks.tuners import cluster, launcher

PROGRAM = pathlib.Path(__file__).with_name("cluster_search.py")
ROOT = pathlib.Path(__file__).parents[2]
DEADLINE = 240.0  # seconds; a process takes three to start on an idle machine

processes = pytest.mark.skipif(
    keras.config.backend() != "jax", reason="nothing here depends on the backend"
)
quiet = [
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]
pytestmark = quiet


class Search:
    """A launched search; `then` runs beside it and may kill."""

    def __init__(self, kind, folder, then=None, seconds=0.3, trials=12, **options):
        self.folder = folder / "search"
        self.lines = []
        errors = []

        def beside():
            try:
                then(self)
            except BaseException as error:
                errors.append(error)

        if then is not None:
            threading.Thread(target=beside, daemon=True).start()
        command = [sys.executable, PROGRAM, kind, folder, "--trials", trials, "--seconds", seconds]
        self.launch = launcher.launch(
            command,
            2,
            directory=folder / "logs",
            environment={"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
            report=self.lines.append,
            **options,
        )
        assert not errors
        log = self.launch.logs["chief"]
        assert self.launch.exit_code == 0, log.read_text()[-2000:]
        # A new oracle reads what the chief left behind.
        tuner = Sleeper(oracle=oracle(kind, trials), directory=str(folder), project_name="search")
        tuner.tuner_id = "chief"
        tuner.reload()
        self.oracle = tuner.oracle
        assert sorted(self.oracle.end_order) == sorted(self.oracle.trials)
        assert self.oracle._retry_queue == []

    def started(self):
        """(worker, process, trial) of each run so far."""
        path = self.folder / "started.txt"
        if not path.exists():
            return []
        return [tuple(line.split()) for line in path.read_text().splitlines()]

    def wait_for(self, condition):
        end = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)
        return found

    def statuses(self):
        return [trial.status for trial in self.oracle.trials.values()]


def kill_worker_in_its_second_run(search):
    def second_run():
        runs = [run for run in search.started() if run[0] == "worker1"]
        return runs[1:2]

    ((_, process, _),) = search.wait_for(second_run)
    os.kill(int(process), signal.SIGKILL)


@processes
def test_a_killed_worker_gets_its_trial_back(tmp_path):
    search = Search("random", tmp_path, kill_worker_in_its_second_run, seconds=0.5)
    assert search.statuses() == ["COMPLETED"] * 12
    assert search.launch.restarts == {"chief": 0, "worker0": 0, "worker1": 1}
    runs = [trial for _, _, trial in search.started()]
    assert len(runs) == 13  # one of them twice
    (again,) = {trial for trial in runs if runs.count(trial) == 2}
    assert {worker for worker, _, trial in search.started() if trial == again} == {"worker1"}
    assert {worker for worker, _, _ in search.started()} == {"worker0", "worker1"}


@processes
def test_a_worker_lost_for_good(tmp_path):
    search = Search(
        "hyperband",
        tmp_path,
        kill_worker_in_its_second_run,
        restarts=0,
        heartbeat_timeout=6,
    )
    assert search.launch.given_up == ("worker1",)
    assert set(search.statuses()) == {"COMPLETED"}
    lost = [run for run in search.started() if run[0] == "worker1"][-1][2]
    assert [w for w, _, trial in search.started() if trial == lost] == ["worker1", "worker0"]
    assert f"Trial {lost} queued again" in search.launch.logs["chief"].read_text()


@processes
def test_a_killed_chief_goes_on(tmp_path):
    def kill_chief(search):
        search.wait_for(lambda: len(search.started()) >= 4)
        os.kill(int((tmp_path / "chief.pid").read_text()), signal.SIGKILL)

    search = Search("grid", tmp_path, kill_chief)
    assert search.launch.restarts == {"chief": 1, "worker0": 1, "worker1": 1}
    assert search.statuses() == ["COMPLETED"] * 9
    points = {tuple(t.hyperparameters.values.values()) for t in search.oracle.trials.values()}
    assert len(points) == 9
    assert len(search.started()) <= 9 + 2  # only what was under way is run again


def test_alone(tmp_path):
    assert cluster.role() is None
    tuner = Sleeper(oracle=oracle("random", 3), directory=str(tmp_path), project_name="search")
    cluster.run(tuner, 0.0, verbose=0)
    assert len(tuner.oracle.end_order) == 3


def test_a_search_begun_alone_goes_on_under_another_name(tmp_path, monkeypatch):
    def trials(number):
        tuner = Sleeper(
            oracle=oracle("random", number), directory=str(tmp_path), project_name="search"
        )
        cluster.run(tuner, 0.0, verbose=0)
        return {name: trial.score for name, trial in tuner.oracle.trials.items()}

    begun = trials(3)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    ended = trials(5)
    assert len(ended) == 5
    assert {name: ended[name] for name in begun} == begun
    assert len((tmp_path / "search" / "started.txt").read_text().splitlines()) == 5


def test_one_search_at_a_time_in_a_directory(tmp_path):
    class Nested(Sleeper):
        def run_trial(self, trial, *arguments, **options):
            other = Sleeper(
                oracle=oracle("random", 1), directory=str(tmp_path), project_name="search"
            )
            with pytest.raises(RuntimeError, match=r"Another search is under way .*process \d+"):
                cluster.run(other, 0.0, verbose=0)
            return {"score": 0.0}

    tuner = Nested(oracle=oracle("random", 1), directory=str(tmp_path), project_name="search")
    cluster.run(tuner, verbose=0)
    assert len(tuner.oracle.end_order) == 1


@pytest.mark.parametrize("name", ["oracle", "a/../b", "", "..", "two words", "x" * 101])
def test_names_that_are_no_file_names(name, monkeypatch):
    with pytest.raises(ValueError, match="name of a process"):
        cluster.environment(name)


def test_a_keras_tuner_without_what_is_built_on(tmp_path, monkeypatch):
    tuner = Sleeper(oracle=oracle("random", 1), directory=str(tmp_path), project_name="search")
    del tuner.oracle._retry_queue
    with pytest.raises(RuntimeError, match="has no _retry_queue any more"):
        cluster.run(tuner, 0.0)


def _act_as(monkeypatch, name, address="127.0.0.1", **options):
    variables = cluster.environment(name, address, launcher.free_port(), **options)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)


def test_roles(monkeypatch):
    _act_as(monkeypatch, "chief")
    assert cluster.role() == "chief"
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    assert cluster.role() == "worker"
    monkeypatch.delenv("KERASTUNER_TUNER_ID")
    with pytest.raises(ValueError, match="Missing: KERASTUNER_TUNER_ID"):
        cluster.role()


def test_an_open_address_is_refused_unless_asked_for(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="neither encrypted nor authenticated"):
        cluster.environment("worker0", "10.0.0.7")
    with pytest.warns(UserWarning, match="neither encrypted nor authenticated"):
        _act_as(monkeypatch, "chief", "chief.example.org", allow_network=True)
    tuner = Sleeper(oracle=oracle("random", 3), directory=str(tmp_path), project_name="search")
    monkeypatch.delenv(cluster.NETWORK_VARIABLE)
    with pytest.raises(ValueError, match="allow_network=True"):
        cluster.run(tuner, 0.0)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"])
def test_own_addresses(address):
    assert cluster.environment("chief", address)["KERASTUNER_ORACLE_IP"] == address


def test_a_failed_search_ends_the_chief(monkeypatch, tmp_path):
    _act_as(monkeypatch, "chief")

    class Server(Sleeper):
        """As Keras Tuner's server: passes errors on to the worker, and goes on for ever."""

        def search(self, *arguments, **options):
            with contextlib.suppress(RuntimeError):
                while True:
                    trial = self.oracle.create_trial("worker0")
                    trial.status = "FAILED"
                    self.oracle.end_trial(trial)
            threading.Event().wait()

    tuner = Server(oracle=oracle("random", 9), directory=str(tmp_path), project_name="search")
    tuner.oracle.verbose = 0
    with pytest.raises(RuntimeError, match="consecutive failures exceeded the limit of 3"):
        cluster.run(tuner)


def test_a_server_that_cannot_start_ends_the_chief(monkeypatch, tmp_path):
    _act_as(monkeypatch, "chief")

    class Server(Sleeper):
        def search(self, *arguments, **options):
            raise OSError("no such interface")

    tuner = Server(oracle=oracle("random", 9), directory=str(tmp_path), project_name="search")
    with pytest.raises(OSError, match="no such interface"):
        cluster.run(tuner)
