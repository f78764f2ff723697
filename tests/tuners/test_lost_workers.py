"""Lost workers, oracle by oracle: simulated workers, and a clock that the tests set."""

import importlib.util
import json
import os

import keras
import keras_tuner
import pytest
import threadpoolctl
from tuners.cluster_search import Sleeper, oracle, score

from keras_deeptricks.tuners.durable_oracle import make_durable
from keras_deeptricks.tuners.lost_workers import WorkerWatch

pytestmark = [
    pytest.mark.skipif(keras.config.backend() != "jax", reason="nothing here depends on it"),
    # Keras Tuner asks for the current thread by its old name, and joblib's pool may be absent.
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

KINDS = ["random", "bayesian", "hyperband", "grid"]
if importlib.util.find_spec("keras_deeptricks.tuners.coarse_to_fine"):
    KINDS.append("coarse_to_fine")
TRIALS = 8
TIMEOUT = 60.0


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


class Cluster:
    """A chief's oracle under watch; its workers are method calls."""

    def __init__(self, kind, folder, trials=TRIALS):
        self.tuner = Sleeper(
            oracle=oracle(kind, trials), directory=str(folder), project_name="search"
        )
        self.oracle = self.tuner.oracle
        self.oracle.verbose = 0
        self.clock = Clock()
        make_durable(self.oracle, self.tuner.project_dir)
        self.watch = WorkerWatch(self.oracle, self.tuner.project_dir, TIMEOUT, clock=self.clock)
        self.watch.attach()
        self.tuner.save()  # as `search` does in the chief

    def ask(self, worker):
        return keras_tuner.engine.trial.Trial.from_proto(
            self.oracle.create_trial(worker).to_proto()
        )

    def report(self, trial):
        self.oracle.update_trial(trial.trial_id, score(trial.hyperparameters.values))
        trial.status = "COMPLETED"
        self.oracle.end_trial(trial)

    def pass_time(self, seconds, living=()):
        """Time goes by in small steps; the living workers beat."""
        lost, end = [], self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 10.0
            for worker in living:
                self.watch.beat(worker)
            lost += self.watch.remove_lost()
        return lost

    def finish(self, worker, limit=200):
        """One worker runs all that is left; returns the number of trials that it ran."""
        for count in range(limit):
            trial = self.ask(worker)
            if trial.status == "STOPPED":
                return count
            assert trial.status == "RUNNING", "the oracle waits for nobody"
            self.report(trial)
        raise AssertionError("the search does not end")

    def statuses(self):
        return [trial.status for trial in self.oracle.trials.values()]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The pools of the linear algebra cost more than they give on matrices of ten rows."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def expected_trials(kind, folder):
    """How many trials the search has when nobody dies."""
    alone = Cluster(kind, folder / "alone")
    alone.finish("worker0")
    return len(alone.oracle.trials)


def check_whole(cluster):
    """Each trial ended once, and nothing is left over."""
    assert sorted(cluster.oracle.end_order) == sorted(cluster.oracle.trials)
    assert cluster.oracle.ongoing_trials == {}
    assert cluster.oracle._retry_queue == []


def test_a_lost_trial_is_run_again(kind, tmp_path):
    cluster = Cluster(kind, tmp_path)
    cluster.report(cluster.ask("worker0"))
    held = cluster.ask("worker1")
    other = cluster.ask("worker0")
    lost = cluster.pass_time(100, living=["worker0"])
    assert lost == [("worker1", held.trial_id, "queued again")]
    assert "worker1" not in cluster.oracle.tuner_ids
    if other.status == "RUNNING":  # a grid search waits for what its trials discover
        cluster.report(other)
    assert cluster.ask("worker0").trial_id == held.trial_id
    assert not cluster.watch.search_ended()
    cluster.report(held)
    cluster.finish("worker0")
    check_whole(cluster)
    assert set(cluster.statuses()) == {"COMPLETED"}
    assert len(cluster.oracle.trials) == expected_trials(kind, tmp_path)
    assert cluster.watch.search_ended()


def test_a_trial_lost_twice_fails(kind, tmp_path):
    cluster = Cluster(kind, tmp_path)
    first = cluster.ask("worker0")
    assert cluster.pass_time(100) == [("worker0", first.trial_id, "queued again")]
    assert cluster.ask("worker1").trial_id == first.trial_id
    assert cluster.pass_time(100) == [("worker1", first.trial_id, "failed")]
    failed = cluster.oracle.trials[first.trial_id]
    assert failed.status == "FAILED"
    assert "lost 2 times" in failed.message
    assert cluster.oracle.end_order == [first.trial_id]
    cluster.finish("worker2")
    check_whole(cluster)
    assert cluster.statuses().count("FAILED") == 1
    assert cluster.watch.search_ended()


def test_a_failure_in_the_last_round_of_each_bracket_hangs_nothing(tmp_path):
    cluster = Cluster("hyperband", tmp_path)
    lost = 0
    for number in range(200):
        trial = cluster.ask(f"worker{number}")
        if trial.status == "STOPPED":
            break
        if trial.hyperparameters.values["tuner/round"] > 0 and lost < 4:
            cluster.pass_time(100)
            lost += 1
        else:
            cluster.report(trial)
    else:
        raise AssertionError("the search does not end")
    check_whole(cluster)
    assert cluster.statuses().count("FAILED") == 2  # each was given out twice


def test_workers_wait_until_no_trial_can_be_lost(tmp_path):
    cluster = Cluster("random", tmp_path, trials=2)
    cluster.report(cluster.ask("worker0"))
    held = cluster.ask("worker1")
    assert cluster.ask("worker0").status == "IDLE"
    cluster.pass_time(100, living=["worker0"])
    assert cluster.ask("worker0").trial_id == held.trial_id
    cluster.report(held)
    assert cluster.ask("worker0").status == "STOPPED"
    assert cluster.watch.search_ended()


def test_the_chief_waits_for_those_still_to_be_told(tmp_path):
    cluster = Cluster("random", tmp_path, trials=1)
    cluster.watch.beat("worker1")  # lives, and has not asked yet
    cluster.finish("worker0")
    assert not cluster.watch.search_ended()
    assert cluster.ask("worker1").status == "STOPPED"
    assert cluster.watch.search_ended()


def test_a_search_whose_last_worker_died_at_its_end(tmp_path):
    cluster = Cluster("random", tmp_path, trials=1)
    cluster.report(cluster.ask("worker0"))
    assert not cluster.watch.search_ended()
    assert cluster.pass_time(100) == [("worker0", None, "")]
    assert cluster.watch.search_ended()


@pytest.mark.parametrize("kind", ["grid", "hyperband"])  # whose number of trials is not known
def test_a_chief_that_died_when_all_had_gone_home(kind, tmp_path):
    before = Cluster(kind, tmp_path)
    before.finish("worker0")
    after = Cluster(kind, tmp_path)
    assert not after.watch.search_ended()
    after.pass_time(100)
    assert after.watch.search_ended()
    # With more trials to come it is not over.
    more = Cluster(kind, tmp_path)
    more.oracle.max_trials = 10_000
    more.pass_time(100)
    assert not more.watch.search_ended()


def test_a_worker_restarted_with_its_trial(kind, tmp_path):
    cluster = Cluster(kind, tmp_path)
    first = cluster.ask("worker0")
    cluster.oracle.update_trial(first.trial_id, {"score": -100.0})
    assert cluster.ask("worker0").trial_id == first.trial_id
    cluster.report(first)  # the figure of the first attempt does not count
    assert cluster.oracle.trials[first.trial_id].score == pytest.approx(
        score(first.hyperparameters.values)["score"]
    )
    second = cluster.ask("worker0")
    assert cluster.ask("worker0").trial_id == second.trial_id
    third = cluster.ask("worker0")  # it killed its worker twice
    assert third.trial_id != second.trial_id
    assert cluster.oracle.trials[second.trial_id].status == "FAILED"


@pytest.mark.parametrize("moment", ["queued", "running elsewhere", "ended elsewhere"])
def test_a_lost_worker_that_comes_back(moment, kind, tmp_path):
    cluster = Cluster(kind, tmp_path)
    held = cluster.ask("worker0")
    cluster.pass_time(100)
    if moment != "queued":
        again = cluster.ask("worker1")
        assert again.trial_id == held.trial_id
    if moment == "ended elsewhere":
        cluster.report(again)
        before = cluster.oracle.trials[held.trial_id].get_state()
    cluster.report(held)
    assert cluster.oracle.end_order == [held.trial_id]
    assert cluster.oracle._retry_queue == []
    if moment == "running elsewhere":
        assert cluster.oracle.ongoing_trials == {}
        cluster.report(again)
    if moment == "ended elsewhere":
        assert cluster.oracle.trials[held.trial_id].get_state() == before
    cluster.finish("worker0")
    cluster.finish("worker1")
    check_whole(cluster)
    assert set(cluster.statuses()) == {"COMPLETED"}


def test_a_report_without_figures_of_a_trial_given_to_another(tmp_path):
    cluster = Cluster("random", tmp_path)
    held = cluster.ask("worker0")
    cluster.oracle.update_trial(held.trial_id, score(held.hyperparameters.values))
    cluster.pass_time(100)  # silent between its figures and its report
    again = cluster.ask("worker1")
    held.status = "COMPLETED"
    cluster.oracle.end_trial(held)
    assert cluster.oracle.end_order == []
    cluster.report(again)
    assert cluster.oracle.end_order == [held.trial_id]


def test_a_report_of_an_unknown_trial_harms_nothing(tmp_path):
    cluster = Cluster("random", tmp_path)
    trial = cluster.ask("worker0")
    stranger = keras_tuner.engine.trial.Trial(trial.hyperparameters, trial_id="77")
    with pytest.raises(KeyError, match="no trial 77"):
        cluster.oracle.end_trial(stranger)
    cluster.report(trial)
    assert cluster.watch.failure is None


def test_a_restarted_chief_goes_on(kind, tmp_path):
    before = Cluster(kind, tmp_path)
    for _ in range(3):
        before.report(before.ask("worker0"))
    held = [before.ask("worker0"), before.ask("worker1")]
    done = list(before.oracle.end_order)

    after = Cluster(kind, tmp_path)
    assert after.oracle.end_order == done
    # A worker that outlived the chief ends its trial, which is not run again.
    after.report(held[0])
    after.watch.beat("worker0")
    ran = []
    while (trial := after.ask("worker2")).status == "RUNNING":
        ran.append(trial.trial_id)
        after.report(trial)
    assert held[0].trial_id not in ran
    assert ran.count(held[1].trial_id) == 1
    assert not after.watch.search_ended()  # worker0 is to be told
    assert after.ask("worker0").status == "STOPPED"
    assert after.watch.search_ended()
    check_whole(after)
    assert len(after.oracle.trials) == expected_trials(kind, tmp_path)
    values = [tuple(t.hyperparameters.values.items()) for t in after.oracle.trials.values()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bayesian"])  # slow; as random
def test_every_place_that_a_chief_can_die_at(kind, tmp_path, monkeypatch):
    """Dies after each write of a file; each time a new chief goes on until it dies in turn."""

    class Death(BaseException):
        pass

    budget = [0]

    def replace(source, target, real=os.replace):
        if budget[0] == 0:
            raise Death
        budget[0] -= 1
        real(source, target)

    monkeypatch.setattr("os.replace", replace)
    budget[0] = 10**9
    whole = expected_trials(kind, tmp_path)
    for life in range(5, 10):  # five writes run one trial
        for _ in range(60):
            budget[0] = life
            try:
                cluster = Cluster(kind, tmp_path / f"lives-of-{life}")
                cluster.finish("worker0")
                break
            except Death:
                continue
        else:
            raise AssertionError("the search does not end")
        check_whole(cluster)
        assert len(cluster.oracle.trials) == whole
        assert set(cluster.statuses()) == {"COMPLETED"}


def test_the_count_of_losses_outlives_the_chief(tmp_path):
    before = Cluster("random", tmp_path)
    held = before.ask("worker0")
    before.pass_time(100)
    path = tmp_path / "search" / "lost_trials.json"
    assert json.loads(path.read_text()) == {held.trial_id: 1}
    after = Cluster("random", tmp_path)
    assert after.ask("worker1").trial_id == held.trial_id
    assert after.pass_time(100) == [("worker1", held.trial_id, "failed")]


@pytest.mark.parametrize("text", ["", "[1]", '{"0": "many"}', "\x00"])
def test_a_broken_count_is_passed_over(text, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "lost_trials.json").write_text(text)
    cluster = Cluster("random", tmp_path)
    held = cluster.ask("worker0")
    assert cluster.pass_time(100) == [("worker0", held.trial_id, "queued again")]


def test_too_many_failures_end_the_chief(tmp_path):
    cluster = Cluster("random", tmp_path)
    trials = [cluster.ask(f"worker{number}") for number in range(3)]
    for trial in trials:
        trial.status = "FAILED"
    cluster.oracle.end_trial(trials[0])
    cluster.oracle.end_trial(trials[1])
    assert cluster.watch.failure is None
    with pytest.raises(RuntimeError, match="consecutive failures"):
        cluster.oracle.end_trial(trials[2])
    assert isinstance(cluster.watch.failure, RuntimeError)
    assert not cluster.watch.search_ended()  # the lock is free
    with pytest.raises(RuntimeError, match="consecutive failures"):
        cluster.ask("worker3")
    after = Cluster("random", tmp_path)
    assert after.statuses() == ["FAILED"] * 3
    assert after.oracle.ongoing_trials == {}


def test_figures_without_the_objective_are_the_workers_error(tmp_path):
    cluster = Cluster("random", tmp_path)
    trial = cluster.ask("worker0")
    with pytest.raises(ValueError, match="Objective value missing"):
        cluster.oracle.update_trial(trial.trial_id, {"other": 1.0})
    assert cluster.watch.failure is None
    cluster.report(trial)
    assert cluster.statuses() == ["COMPLETED"]


def test_a_chief_that_slept_loses_nobody(tmp_path):
    cluster = Cluster("random", tmp_path)
    cluster.ask("worker0")
    cluster.clock.now += 3600.0  # a laptop was shut
    assert cluster.watch.remove_lost() == []
    assert cluster.pass_time(50) == []
    assert len(cluster.pass_time(30)) == 1


def test_names_from_an_open_port_fill_no_memory(tmp_path):
    cluster = Cluster("random", tmp_path)
    for number in range(20_000):
        cluster.watch.beat(str(number))
    assert len(cluster.watch._seen) <= 10_000
    cluster.pass_time(100)
    assert cluster.watch._seen == {}
