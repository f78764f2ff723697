"""Workers that died: who is silent for too long, and what becomes of their trials."""

import json
import logging
import pathlib
import threading
import time

import keras_tuner

from keras_deeptricks.tuners.durable_oracle import write_json

_LOG = logging.getLogger(__name__)
_FILE = "lost_trials.json"
# Where the chief notes that the search is over.
_OVER = "search_over.json"
_MOST_WORKERS = 10_000  # an open port must not fill the memory with names


class WorkerWatch:
    """Watches over the workers of one oracle, in the chief's process.

    Keras Tuner waits for ever for a worker that died. The watch stands between the chief's
    server and the oracle (`attach`) and takes lost workers off the oracle's lists
    (`remove_lost`):

    - A worker is lost when it gave no sign of life for `timeout` seconds: no heartbeat, and no
      request for a trial. A worker that asks for a trial while it still has one has been
      started again.
    - A trial that lost its worker is run again, `retries` times; lost once more, it ends as
      "FAILED", so that a trial that kills its workers does not do so for ever. The losses are
      counted in a file of the project's directory, which a restarted chief reads.
    - Of a trial that two workers ran, since the first was lost only from sight, the first
      report counts; the second is passed over.
    - No worker is sent home while a trial is under way: it may have to be run again.
    - An error inside the oracle, such as too many failed trials in a row, leaves its lock free
      and is kept in `failure`.

    Args:
        oracle: The `keras_tuner.Oracle` of the chief.
        folder: The project's directory.
        timeout: Seconds of silence.
        retries: How often a trial that lost its worker is run again.
        clock: Function without arguments that gives the seconds.

    Attributes:
        failure: The error that ended the oracle's work, or None.

    Example:

    ```python
    import keras_tuner

    from keras_deeptricks.tuners.lost_workers import WorkerWatch

    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-4, 1.0, sampling="log")
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("loss", "min"), max_trials=2, hyperparameters=space
    )
    oracle.verbose = 0
    oracle._set_project_dir("runs", "example")
    seconds = iter(range(0, 1000, 20))
    watch = WorkerWatch(oracle, "runs/example", timeout=60, clock=lambda: next(seconds))
    watch.attach()
    trial = oracle.create_trial("worker0")
    while not (lost := watch.remove_lost()):
        pass
    assert lost == [("worker0", trial.trial_id, "queued again")]
    assert oracle.create_trial("worker1").trial_id == trial.trial_id
    ```
    """

    def __init__(self, oracle, folder, timeout=60.0, retries=1, clock=time.monotonic):
        self.oracle = oracle
        self.timeout = timeout
        self.retries = retries
        self.failure = None
        self._clock = clock
        self._path = pathlib.Path(folder) / _FILE
        self._losses = _read_losses(self._path)
        self._over = self._path.with_name(_OVER)
        self._seen = {}  # worker -> time of its last sign of life
        self._seen_lock = threading.Lock()
        self._told = set()  # workers that know that the search is over
        self._started = self._checked = clock()

    def attach(self):
        """Puts the watch between the chief's server and the oracle's methods."""
        create, update, end = (
            self.oracle.create_trial,
            self.oracle.update_trial,
            self.oracle.end_trial,
        )
        self.oracle.create_trial = lambda tuner_id: self._locked(self._create, create, tuner_id)
        self.oracle.update_trial = lambda trial_id, metrics, step=0: self._locked(
            self._update, update, trial_id, metrics, step
        )
        self.oracle.end_trial = lambda trial: self._locked(self._end, end, trial)

    def beat(self, worker):
        """Notes a sign of life of a worker; may be called from any thread."""
        with self._seen_lock:
            if worker in self._seen or len(self._seen) < _MOST_WORKERS:
                self._seen[worker] = self._clock()

    def remove_lost(self):
        """Takes the lost workers off the oracle's lists.

        Returns:
            List of (worker, trial's name or None, "queued again", "failed" or "").
        """
        return self._locked(self._remove_lost)

    def search_ended(self):
        """Whether every trial has ended and every living worker knows that the search is over."""
        return self._locked(self._search_ended)

    def _locked(self, function, *arguments):
        value, error = _under_lock(self.oracle, function, *arguments)
        if error is not None:
            raise error
        return value

    def _remove_lost(self):
        now = self._clock()
        with self._seen_lock:
            asleep = now - self._checked
            if asleep > self.timeout / 2:  # this process slept, and could hear nobody
                self._seen = {worker: at + asleep for worker, at in self._seen.items()}
            self._checked = now
            registered = self.oracle.tuner_ids | set(self.oracle.ongoing_trials)
            for worker in registered:
                self._seen.setdefault(worker, now)
            silent = [w for w, at in self._seen.items() if now - at > self.timeout]
            for worker in silent:
                del self._seen[worker]
        return [self._remove(worker) for worker in sorted(silent) if worker in registered]

    def _remove(self, worker):
        oracle = self.oracle
        oracle.tuner_ids.discard(worker)
        trial = oracle.ongoing_trials.get(worker)
        if trial is None:
            _LOG.warning("%s is lost: silent for %g s.", worker, self.timeout)
            return worker, None, ""
        name = trial.trial_id
        if self._lose(trial):
            outcome = "failed"
            self._fail(trial, worker)
        else:
            del oracle.ongoing_trials[worker]
            running = any(other.trial_id == name for other in oracle.ongoing_trials.values())
            outcome = "" if running else "queued again"
            if not running and name not in oracle._retry_queue:
                trial.status = "INVALID"  # as Keras Tuner's own retries, which models must skip
                _forget_results(trial)
                oracle._retry_queue.append(name)
            oracle.save()
        words = outcome or "is running elsewhere"
        _LOG.warning("%s is lost: silent for %g s. Trial %s %s.", worker, self.timeout, name, words)
        return worker, name, outcome

    def _lose(self, trial):
        """Counts a loss; returns whether the trial has had its last one."""
        self._losses[trial.trial_id] = self._losses.get(trial.trial_id, 0) + 1
        write_json(self._path, self._losses)
        return self._losses[trial.trial_id] > self.retries

    def _fail(self, trial, worker):
        trial.status = "FAILED"
        trial.message = (
            f"Its worker was lost {self._losses[trial.trial_id]} times, at last {worker}."
        )
        self.oracle.end_trial(trial)

    def _create(self, create, worker):
        if self.failure is not None:
            raise self.failure
        self.beat(worker)
        self._told.discard(worker)
        held = self.oracle.ongoing_trials.get(worker)
        if held is not None:
            again = "failed" if self._lose(held) else "is run again"
            _LOG.warning("%s was started again. Trial %s %s.", worker, held.trial_id, again)
            if again == "failed":
                self._fail(held, worker)
        trial = self._recorded(create, worker)
        if trial.status == "RUNNING":
            _forget_results(trial)
        elif trial.status == "STOPPED" and self.oracle.ongoing_trials:
            self.oracle.tuner_ids.add(worker)
            trial.status = "IDLE"
        elif trial.status == "STOPPED":
            self._told.add(worker)
            # A chief that dies now finds no worker to tell it when it is started again.
            write_json(self._over, self._extent())
        return trial

    def _update(self, update, trial_id, metrics, step):
        if trial_id in self.oracle.end_order:
            return self.oracle.trials[trial_id]
        return update(trial_id, metrics, step=step)

    def _end(self, end, trial):
        oracle, name = self.oracle, trial.trial_id
        if name not in oracle.trials:
            raise KeyError(f"This search has no trial {name}.")
        if name in oracle.end_order:
            return
        queue = oracle._retry_queue
        waiting = name in queue or name in self._losses
        if waiting and trial.status == "COMPLETED" and not oracle.trials[name].metrics.metrics:
            return  # its result was forgotten when the trial was given to another worker
        queue[:] = [other for other in queue if other != name]
        holders = [w for w, held in oracle.ongoing_trials.items() if held.trial_id == name]
        try:
            self._recorded(end, trial)
        finally:
            for worker in holders:
                oracle.ongoing_trials.pop(worker, None)
            # Keras Tuner saves before it takes the trial off: it would be run again. And it does
            # not save at all where this trial was the last failure too many.
            if self.failure is not None:
                oracle._save_trial(oracle.trials[name])
            oracle.save()

    def _recorded(self, function, *arguments):
        try:
            return function(*arguments)
        except Exception as error:
            self.failure = self.failure or error
            raise

    def _search_ended(self):
        oracle, now = self.oracle, self._clock()
        if oracle.ongoing_trials or oracle._retry_queue:
            return False
        with self._seen_lock:
            living = {w for w, at in self._seen.items() if now - at <= self.timeout}
        if (oracle.tuner_ids | living) - self._told:
            return False
        # Where the last worker died after its last trial, nobody could be told.
        full = oracle.max_trials and len(oracle.trials) >= oracle.max_trials
        if not full and not self._told:
            full = _read_json(self._over) == self._extent()
        return bool(self._told) or bool(full and now - self._started > self.timeout)

    def _extent(self):
        """What the search has come to, and may come to."""
        return {"trials": len(self.oracle.trials), "max_trials": self.oracle.max_trials}


@keras_tuner.synchronized
def _under_lock(oracle, function, *arguments):
    # Keras Tuner leaves the lock taken when what it calls raises, so nothing may.
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error


def _forget_results(trial):
    """A trial that is run again starts without figures; Keras Tuner would keep the old ones."""
    trial.metrics = type(trial.metrics)()
    trial.score = None


def _read_losses(path):
    """The count of each trial's losses; a file that holds something else counts as absent."""
    found = _read_json(path)
    return {str(name): count for name, count in found.items() if type(count) is int}


def _read_json(path):
    """The dictionary in a file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _LOG.warning("%s cannot be read (%s) and counts as absent.", path, error)
        return {}
    return found if isinstance(found, dict) else {}
