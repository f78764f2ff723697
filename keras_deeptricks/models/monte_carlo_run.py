"""One call of `MonteCarlo.predict` or `evaluate`: collects what the chunks give."""

import keras
import numpy as np

from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction
from keras_deeptricks.models.monte_carlo_prediction import MonteCarloPrediction
from keras_deeptricks.utils.probabilistic_scores import align
from keras_deeptricks.utils.regression_density import RegressionDensity
from keras_deeptricks.utils.sample_moments import merged_moments, moments_of
from keras_deeptricks.utils.sample_summary import quantiles_of, summary_of_moments


class MonteCarloRun:
    """Runs the passes chunk by chunk, and joins the rows in the end.

    Args:
        runner: A `PassRunner`.
        passes: Number of passes.
        seed: The seed of the noise.
        verbose: As in Keras.
        tau: Precision of a regression's noise, or None.
        keep_samples: Whether all samples are kept.
        levels: Probabilities of the quantiles that are wanted, or None.
    """

    def __init__(self, runner, passes, seed, verbose, tau, keep_samples=False, levels=None):
        self.runner, self.passes, self.seed, self.tau = runner, passes, seed, tau
        self.keep_samples, self.levels = keep_samples, levels
        self.outputs, self.chunks, self.weights = None, [], []
        self.done = 0
        self.verbose = 1 if verbose == "auto" else verbose
        self.bar = None

    def add(self, first, inputs, targets=None, weights=None):
        """Computes a chunk.

        Raises:
            ValueError: the targets do not have the structure or the shapes of the outputs.
        """
        if self.outputs is None:
            self._begin(inputs)
        arguments = inputs, self.outputs, first, self.seed, self.passes, self._progress
        if targets is None:
            self.chunks.append(self._predicted(arguments))
            return
        leaves = self.outputs.flattened_targets(targets)
        self.chunks.append(self._compared(arguments, leaves))
        rows = len(keras.tree.flatten(inputs)[0])
        self.weights.append(np.ones(rows) if weights is None else np.asarray(weights))

    def prediction(self):
        """The `MonteCarloPrediction` of all rows."""
        if self.bar.target is None or self.done < self.bar.target:
            self.bar.update(self.done, finalize=True)
        taus = [self.tau if task == "regression" else None for task in self.outputs.tasks]
        return MonteCarloPrediction(
            mean=self._joined("mean"),
            std=self._joined("std"),
            task=self.outputs.packed(self.outputs.tasks),
            passes=self.passes,
            expected_entropy=self._joined("expected_entropy"),
            tau=None if self.tau is None else self.outputs.packed(taus),
            quantile_levels=self.levels,
            quantiles=None if self.levels is None else self._joined("quantiles", axis=1),
            samples=self._joined("samples", axis=1) if self.keep_samples else None,
            seed=self.seed,
        )

    def evaluation(self, interval_level, bins):
        """The `MonteCarloEvaluation` of all rows, or a structure of them."""
        prediction = self.prediction()
        results = [
            evaluate_prediction(
                self._column(index, "y"),
                prediction if path is None else prediction[path],
                log_likelihood=self._column(index, "log_likelihood"),
                cdf=self._column(index, "cdf"),
                sample_weight=np.concatenate(self.weights),
                interval_level=interval_level,
                bins=bins,
            )
            for index, path in enumerate(self.outputs.keys)
        ]
        return self.outputs.packed(results)

    def _begin(self, inputs):
        self.outputs = self.runner.outputs(inputs)
        if self.tau is not None and "regression" not in self.outputs.tasks:
            raise ValueError(
                "`tau` is the precision of a regression's noise, but no output is a regression: "
                f"{self.outputs.tasks}. Leave `tau` out, or say task='regression'."
            )
        self.bar = keras.utils.Progbar(
            self.runner.row_count and self.runner.row_count * self.passes,
            verbose=self.verbose,
            unit_name="row",
        )

    def _progress(self, count):
        self.done += count
        self.bar.update(self.done)

    def _predicted(self, arguments):
        if not self.keep_samples and self.levels is None:
            moments = self.runner.moments(*arguments)
            return [summary_of_moments(parts, self.passes) for parts in moments]
        blocks = list(self.runner.sample_blocks(*arguments))
        samples = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        return [self._of_samples(*pair) for pair in zip(samples, self.outputs.tasks, strict=True)]

    def _of_samples(self, samples, task):
        found = summary_of_moments(moments_of(samples, task), self.passes)
        if self.levels is not None:
            found["quantiles"] = quantiles_of(samples, self.levels)
        return {**found, "samples": samples} if self.keep_samples else found

    def _compared(self, arguments, targets):
        tasks = self.outputs.tasks
        if "regression" not in tasks:
            found = self._predicted(arguments)
            return [{**one, "y": y} for one, y in zip(found, targets, strict=True)]
        densities = [
            RegressionDensity(align(y, (len(y), *shape)), self.tau)
            if task == "regression"
            else None
            for y, shape, task in zip(targets, self.outputs.shapes, tasks, strict=True)
        ]
        moments, done = None, 0
        for block in self.runner.sample_blocks(*arguments):
            found = [moments_of(samples, task) for samples, task in zip(block, tasks, strict=True)]
            count = len(block[0])
            moments = found if moments is None else merged_moments(moments, done, found, count)
            done += count
            for samples, density in zip(block, densities, strict=True):
                if density is not None:
                    density.update(samples)
        results = [summary_of_moments(parts, self.passes) for parts in moments]
        for one, y, density in zip(results, targets, densities, strict=True):
            one["y"] = y
            if density is not None:
                one["log_likelihood"], one["cdf"] = density.log_likelihood(), density.cdf()
        return results

    def _column(self, index, name, axis=0):
        """One entry of an output, rows of all chunks joined; None where the output has none."""
        if self.chunks[0][index].get(name) is None:
            return None
        return np.concatenate([chunk[index][name] for chunk in self.chunks], axis=axis)

    def _joined(self, name, axis=0):
        columns = [self._column(i, name, axis) for i in range(len(self.outputs.tasks))]
        return self.outputs.packed(columns)
