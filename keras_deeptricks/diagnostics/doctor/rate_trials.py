"""Short runs at the user's rate and around it, and what their losses say about it."""

import dataclasses
import math

import numpy as np

# Steps of a run, and seconds for all runs together; a slow model gets fewer steps.
_STEPS, _FEWEST_STEPS = 100, 16
_SECONDS = {"quick": 7.0, "full": 30.0}
# Powers of ten that are tried beyond the neighbours while the loss gets better.
_MOST_DECADES = 5
# A rate that made less than this part of the progress of a lower one is too high, and one that
# made less than this part of the progress of higher ones is too low.
_TOO_HIGH, _GAP, _TOO_LOW = 0.5, 0.3, 0.05
# The progress that would be needed has to be worth talking of: so many times the noise.
_NOISE = 4.0
# A low rate that gets there within so many epochs and steps is patience, not a fault.
_EPOCHS, _PATIENT_STEPS = 60, 1500


@dataclasses.dataclass(frozen=True, eq=False)
class RateTrials:
    """Runs of the same batches at different rates.

    Attributes:
        rate: The user's rate; None where the optimizer has no single one.
        runs: Dictionary from powers of ten, whole numbers, to the `ShortRun` at the rate times
            that power; 0 is the given rate.
        start: The loss without training, in training mode, on the batches at the end of the runs.
        noise: Its standard deviation from batch to batch.
        steps_per_epoch: Of all the data.
    """

    rate: float | None
    runs: dict
    start: float
    noise: float
    steps_per_epoch: float

    @property
    def best(self):
        """The power with the lowest loss at the end."""
        return min(self.runs, key=lambda power: self.runs[power].end)

    @property
    def own(self):
        """The run at the given rate."""
        return self.runs[0]

    def progress(self, power):
        """The part of the best run's descent that a run made; minus infinity after a failure."""
        gained = self.start - self.runs[self.best].end
        if not self.runs[power].finite:
            return -math.inf
        return (self.start - self.runs[power].end) / gained if gained > 0 else 0.0

    @property
    def tells(self):
        """Whether the best run got far enough for the others to be compared with it."""
        end = self.runs[self.best].end
        if not math.isfinite(end) or not math.isfinite(self.start):
            return False
        runs = len(self.runs[self.best].losses)
        error = self.noise / math.sqrt(max(1, runs // 5))
        gained = self.start - end
        return gained > _NOISE * error and gained > 0.02 * abs(self.start)

    @property
    def verdict(self):
        """`"too high"`, `"too low"`, `"fails"` (at every rate), `"fine"` or `"undecided"`."""
        if self.rate is None:
            return "undecided" if self.runs[0].finite else "fails"
        if not any(run.finite for run in self.runs.values()):
            return "fails"
        own = self.progress(0)
        if not self.runs[0].finite:
            lower = [p for p in self.runs if p < 0 and self.runs[p].finite]
            return "too high" if lower else "fails"
        if not self.tells:
            # Nothing gets anywhere; but a loss that explodes at this rate alone still tells.
            exploded = self.runs[0].end > self.start + 10 * self.noise + abs(self.start)
            calmer = any(self.runs[p].end < self.start + 2 * self.noise for p in self.runs if p < 0)
            return "too high" if exploded and calmer else "undecided"
        if self.best < 0 and own < _TOO_HIGH and self.progress(self.best) > own + _GAP:
            return "too high"
        if self.best > 0 and own < _TOO_LOW and not self._gets_there():
            return "too low"
        return "fine"

    def _gets_there(self):
        own = self.progress(0)
        if own <= 0:
            return False
        needed = len(self.runs[0].losses) / own
        return needed < _PATIENT_STEPS or needed < _EPOCHS * self.steps_per_epoch


def rate_trials(case):
    """Makes the runs.

    Returns:
        A `RateTrials`; its runs carry in `after` what `look(case)` saw at their ends.
    """
    with case.short_runs() as runner:
        # How long a step takes is not known before.
        still = runner.run(0.0 if runner.rate is not None else None, 8)
        per_step = still.seconds / max(1, len(still.losses) - 1)
        budget = _SECONDS[case.level]
        steps = int(np.clip(budget / (4 * max(per_step, 1e-6)), _FEWEST_STEPS, _STEPS))
        limit = max(2.0, budget / 3)
        if runner.rate is not None:
            # At rate 0 the same batches show what their losses are without any learning.
            still = runner.run(0.0, steps, seconds=limit)
        start = still.end if runner.rate is not None else float(np.mean(still.losses))
        noise = float(np.std(still.losses)) if still.finite else 0.0

        def run(power):
            rate = None if runner.rate is None else runner.rate * 10.0**power
            return runner.run(rate, steps, case.look, limit)

        runs = {0: run(0)}
        # A rate of zero cannot be multiplied; it is told elsewhere.
        if runner.rate:
            runs[-1], runs[1] = run(-1), run(1)
            for direction in (-1, 1):
                _explore(runs, run, direction, start, noise)
        rows = case.sample.total_rows or case.sample.rows
        trials = RateTrials(
            runner.rate, dict(sorted(runs.items())), start, noise, rows / runner.batch_size
        )
    return trials


def _explore(runs, run, direction, start, noise):
    """Goes on in one direction for as long as the loss gets better, or nothing is to be seen."""
    for power in range(direction, direction * _MOST_DECADES, direction):
        before, now = runs[power - direction], runs[power]
        margin = 0.02 * abs(now.end) if math.isfinite(now.end) else 0.0
        better = now.end < before.end - margin
        # Too low a rate leaves the loss where it was, too high a one throws it up.
        still = direction > 0 and abs(now.end - start) < max(noise, 0.02 * abs(start))
        thrown = direction < 0 and not now.end < start
        if not (better or still or thrown):
            return
        runs[power + direction] = run(power + direction)
