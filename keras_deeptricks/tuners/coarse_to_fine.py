"""Random search that narrows, round by round, around the best."""

import random

import keras_tuner
from keras_tuner.engine import hyperparameters as types

from keras_deeptricks.tuners.narrowing import narrowed, neighbours
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number

# Options without an order stay while one of the best trials has them: this share, at least two.
_ELITE = 1 / 3
# The best of fewer is no centre.
_FEWEST_COARSE = 5
# How often a draw that was tried before is drawn again.
_DRAWS = 20
_WHOLE = (0.0, 1.0)
_NUMERICAL = (types.Float, types.Int)


class CoarseToFineOracle(keras_tuner.Oracle):
    """Chooses the trials of `CoarseToFine`; for tuners of your own.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_trials: Number of trials of all rounds.
        coarse_share: Share of the trials that search the whole ranges; at least five do.
        rounds: Number of narrower rounds that share the other trials.
        shrink: Width of a round's ranges relative to those before, between 0 and 1.
        extend: Names of floats sampled on a log scale whose range may be left, by half of its
            width at most, where the best trial lies at its end; `"log"` for all of them, None for
            no one. Defaults to `("learning_rate",)`.
        seed, hyperparameters, allow_new_entries, tune_new_entries, max_retries_per_trial,
        max_consecutive_failed_trials: As in `keras_tuner.Oracle`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import tempfile
    import keras_tuner
    import keras_deeptricks as kdt

    class Parabola(keras_tuner.Tuner):
        def run_trial(self, trial, **options):
            x = trial.hyperparameters.Float("x", -10.0, 10.0)
            return (x - 3.0) ** 2

    oracle = kdt.tuners.CoarseToFineOracle(max_trials=30, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = Parabola(oracle=oracle, directory=folder)
        tuner.search(verbose=0)
        assert oracle.get_best_trials()[0].score < 1.0
    ```

    Reference: Karpathy, CS231n, "Hyperparameter optimization", 2015; Bergstra & Bengio, Random
    search for hyper-parameter optimization, 2012.
    """

    def __init__(
        self,
        objective=None,
        max_trials=30,
        coarse_share=0.3,
        rounds=6,
        shrink=0.7,
        extend=("learning_rate",),
        seed=None,
        hyperparameters=None,
        allow_new_entries=True,
        tune_new_entries=True,
        max_retries_per_trial=0,
        max_consecutive_failed_trials=3,
    ):
        max_trials = check_integer("max_trials", max_trials, minimum=1)
        self.coarse_share = check_number("coarse_share", coarse_share, above=0, maximum=1)
        self.rounds = check_integer("rounds", rounds, minimum=1)
        self.shrink = check_number("shrink", shrink, above=0, below=1)
        if extend is None or isinstance(extend, str):
            check_choice("extend", extend, ("log", None))
        self.extend = extend if extend is None or extend == "log" else tuple(extend)
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        # What each narrower round searches: by the name of a hyperparameter {"places": [low, high]}
        # or {"options": [...]}.
        self._regions = []
        self._intervals = {}
        self._round_of = {}

    def round_of(self, trial_id):
        """The number of the round that a trial was chosen in: 0 for the coarse one, or None."""
        return self._round_of.get(trial_id)

    def regions(self):
        """What the rounds so far have searched, a dictionary for each but the coarse one.

        Of a numerical hyperparameter the lowest and highest value, of another the list of options.
        """
        space = {hp.name: hp for hp in self.hyperparameters.space}
        return [
            {
                name: part["options"]
                if "options" in part
                else tuple(_value(space[name], place) for place in part["places"])
                for name, part in region.items()
                if name in space
            }
            for region in self._regions
        ]

    def populate_space(self, trial_id):
        """Chooses the values of a trial; called by Keras Tuner."""
        number = self._due_round()
        best = self._completed()
        if not best:
            number = 0
        if len(self._regions) < number:
            # A round that came when no trial had ended yet is given the same region.
            missing = number - len(self._regions)
            self._regions += [self._next_region(best)] * missing
        region = self._regions[number - 1] if number else {}
        # A small region may hold nothing new: then the whole range is searched.
        for part in (region, {}):
            values = self._draw(part)
            if values is not None:
                self._round_of[trial_id] = number if part or not number else 0
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED", "values": None}

    def get_state(self):
        return {
            **super().get_state(),
            "regions": self._regions,
            "intervals": self._intervals,
            "round_of": self._round_of,
        }

    def set_state(self, state):
        super().set_state(state)
        self._regions = state["regions"]
        self._intervals = state["intervals"]
        self._round_of = state["round_of"]

    def _due_round(self):
        coarse = max(_FEWEST_COARSE, round(self.coarse_share * self.max_trials))
        finer = self.max_trials - coarse
        number = len(self.trials) - coarse
        if number < 0:
            return 0
        return 1 + min(self.rounds - 1, number * self.rounds // max(1, finer))

    def _completed(self):
        """The trials with a score, the best first."""
        trials = [
            trial
            for trial in self.trials.values()
            if trial.status == "COMPLETED" and trial.score is not None
        ]
        largest_first = self.objective.direction == "max"
        return sorted(trials, key=lambda trial: trial.score, reverse=largest_first)

    def _next_region(self, trials):
        best = trials[0].hyperparameters.values
        used = trials[0].hyperparameters.is_active
        elite = trials[: max(2, round(_ELITE * len(trials)))]
        region = {}
        for hp in self.hyperparameters.space:
            name = hp.name
            # Of one that the best trial does not use nothing is known.
            if name not in best or not used(hp) or isinstance(hp, types.Fixed):
                continue
            interval = self._intervals.get(name, _WHOLE)
            if isinstance(hp, _NUMERICAL):
                place = hp.value_to_prob(best[name])
                interval = narrowed(place, interval, self.shrink, self._may_leave(hp))
                region[name] = {"places": list(interval)}
            elif getattr(hp, "ordered", False) and len(hp.values) > 2:
                kept, interval = neighbours(list(hp.values), best[name], interval, self.shrink)
                region[name] = {"options": kept}
            else:
                seen = [trial.hyperparameters.values.get(name) for trial in elite]
                options = [option for option in _options(hp) if option in seen]
                region[name] = {"options": options}
            self._intervals[name] = list(interval)
        return region

    def _may_leave(self, hp):
        if not isinstance(hp, types.Float) or hp.step is not None or hp.sampling != "log":
            return False
        return self.extend == "log" or hp.name in (self.extend or ())

    def _draw(self, region):
        """Values not tried before, each in its part of the region; None where none was found."""
        for _ in range(_DRAWS):
            hps = keras_tuner.HyperParameters()
            for hp in self.hyperparameters.space:
                hps.merge([hp])
                if hps.is_active(hp):
                    generator = random.Random(self._seed_state)
                    self._seed_state += 1
                    hps.values[hp.name] = _drawn(hp, region.get(hp.name), generator)
            if not self._duplicate(hps.values):
                return hps.values
        return None


class CoarseToFine(keras_tuner.Tuner):
    """Searches coarsely at random, then in narrower rounds around the best.

    Use it in place of `keras_tuner.RandomSearch`, with the same budget: a share of the trials
    searches the whole ranges, on their scales; then each round searches narrower ranges around
    the best trial so far. Where the best lies at the end of its range the range moves on instead of
    shrinking; that of a learning rate also beyond its first bounds (see `extend`). Options without
    an order stay as long as one of the best third of the trials has them.

    It runs like every tuner of Keras Tuner: results are kept in `directory` and a search that was
    interrupted goes on there; several workers may share it.

    Args:
        hypermodel: As in `keras_tuner.Tuner`.
        objective: As in `keras_tuner.Tuner`, such as `"val_accuracy"`.
        max_trials, coarse_share, rounds, shrink, extend, seed, hyperparameters, allow_new_entries,
        tune_new_entries, max_retries_per_trial, max_consecutive_failed_trials: As in
            `CoarseToFineOracle`.
        **kwargs: Further arguments of `keras_tuner.Tuner`, such as `executions_per_trial`,
            `directory` and `project_name`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import tempfile
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(200, 4))
    y = x.sum(axis=1)

    def build(hp):
        units = hp.Int("units", 4, 32, sampling="log")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "elu"),
                                  keras.layers.Dense(1)])
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(kdt.optimizers.SGD(rate), "mse")
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = kdt.tuners.CoarseToFine(build, "val_loss", max_trials=4, directory=folder, seed=0)
        tuner.search(x, y, validation_split=0.2, epochs=1, verbose=0)
        best = tuner.get_best_hyperparameters()[0]
    ```

    Reference: As `CoarseToFineOracle`.
    """

    def __init__(
        self,
        hypermodel=None,
        objective=None,
        max_trials=30,
        coarse_share=0.3,
        rounds=6,
        shrink=0.7,
        extend=("learning_rate",),
        seed=None,
        hyperparameters=None,
        allow_new_entries=True,
        tune_new_entries=True,
        max_retries_per_trial=0,
        max_consecutive_failed_trials=3,
        **kwargs,
    ):
        oracle = CoarseToFineOracle(
            objective=objective,
            max_trials=max_trials,
            coarse_share=coarse_share,
            rounds=rounds,
            shrink=shrink,
            extend=extend,
            seed=seed,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)


def _options(hp):
    return [True, False] if isinstance(hp, types.Boolean) else list(hp.values)


def _drawn(hp, part, generator):
    """A random value of a hyperparameter, from a part of a region or from all of its range."""
    if isinstance(hp, types.Fixed):
        return hp.value
    if isinstance(hp, _NUMERICAL):
        low, high = (part or {}).get("places", _WHOLE)
        return _value(hp, generator.uniform(low, high))
    options = _options(hp)
    if part and "options" in part:
        # Elsewhere in the space another one may have the same name.
        options = [option for option in part["options"] if option in options] or options
    return generator.choice(options)


def _value(hp, place):
    """The value at a place of the range; only of floats without steps beyond it."""
    if not isinstance(hp, types.Float) or hp.step is not None:
        place = min(max(place, 0.0), 1.0 - 1e-9)  # at 1 whole numbers would lie beyond the last
    return hp.prob_to_value(place)
