"""Monte-Carlo dropout: the uncertainty of any trained model, from many random passes."""

import keras
import numpy as np

from keras_deeptricks.models.monte_carlo_run import MonteCarloRun
from keras_deeptricks.models.pass_runner import PassRunner
from keras_deeptricks.utils.checks import check_flag, check_integer, check_number
from keras_deeptricks.utils.sample_summary import check_levels


class MonteCarlo:
    """The mean and spread of a model's predictions over many random passes.

    Use it to learn how far to trust each prediction of a model that was trained with dropout or
    another of Keras' stochastic regularizers; nothing is trained again. Only these layers are
    random: `Dropout`, `SpatialDropout1D/2D/3D`, `AlphaDropout`, `GaussianDropout`,
    `GaussianNoise`, the dropout inside recurrent and attention layers, this library's layers of
    the kind (also `RReLU` and residual blocks with stochastic depth), and subclasses.
    Normalization stays in inference mode, and the model is not changed: neither weights, nor
    statistics, nor random states, nor how it was compiled. It may be trained on meanwhile; passes
    use the weights of the moment.

    What comes before the first random layer on each branch of a Functional or Sequential model,
    nested models included, is computed once; a subclassed model has no known graph and runs whole
    in every pass. The passes run inside one compiled function that keeps running moments, so that
    memory does not grow with `samples`. A row's noise depends on `seed`, the pass and the row's
    place in the data, and rows are computed in chunks of a fixed size: the result is the same
    whatever the batches are. (Recurrent and additive attention layers, and random layers of your
    own, draw from the backend's generator instead, one key for each chunk and group of passes.)

    The rows of a batch must not influence each other in inference mode: the last chunk is filled
    up, and passes are stacked along the rows.

    Args:
        model: A `keras.Model` of any kind: Functional, Sequential, subclassed, nested.
        samples: Number of passes T, at least 1. Defaults to `100`.
        seed: A whole number from 0: the same noise in every call. By default each call draws a
            new one, which the result keeps as its `seed`.
        tau: For a regression, the precision τ of the observation noise, above 0, in the inverse
            squared units of the outputs: 1/τ is added to the predictive variance.
        task: What the outputs are: `"classification"` (the last axis is a distribution),
            `"binary"` or `"multilabel"` (each entry is a probability), `"regression"`, or for
            several outputs a structure of these. By default told from the last activation, the
            loss, or the values.
        activation: Name of an activation, or a function, applied to the outputs of each pass
            before they are averaged, such as `"softmax"` for a model that gives logits.
        stochastic: Classes of further layers that are to be random. They are called with
            `training=True` and must draw from a `keras.random.SeedGenerator`.
        chunk_size: Rows computed at a time. By default chosen by the size of the tensors in the
            model, at most 1024. Lower it where memory is short.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or `model` has no stochastic layer. (Dropout
            with rate 0 counts as one: all passes are then equal.) When it is used: a recurrent
            layer of the model is stateful.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(8, 4))
    passes = kdt.models.MonteCarlo(model, samples=100, seed=1)
    prediction = passes.predict(x, verbose=0)
    assert prediction.mean.shape == (8, 3) and prediction.mutual_information.shape == (8,)
    assert np.array_equal(prediction.mean, passes.predict(x, batch_size=2, verbose=0).mean)
    ```

    Reference: Gal & Ghahramani, Dropout as a Bayesian approximation, 2016, section 4.
    """

    def __init__(
        self,
        model,
        samples=100,
        seed=None,
        *,
        tau=None,
        task="auto",
        activation=None,
        stochastic=(),
        chunk_size=None,
    ):
        if not isinstance(model, keras.Model):
            raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
        self.model = model
        self.samples = check_integer("samples", samples, minimum=1)
        self.seed = None if seed is None else check_integer("seed", seed, minimum=0)
        self.tau = _check_tau(tau)
        if chunk_size is not None:
            chunk_size = check_integer("chunk_size", chunk_size, minimum=1)
        self._runner = PassRunner(model, task, activation, _check_classes(stochastic), chunk_size)

    @property
    def chunk_size(self):
        """Rows computed at a time; None until the first call, unless it was given."""
        return self._runner.chunk_size

    def predict(
        self,
        x,
        batch_size=None,
        verbose="auto",
        steps=None,
        *,
        keep_samples=False,
        quantiles=None,
        tau=None,
    ):
        """Predicts, with uncertainty.

        Args:
            x: What `keras.Model.predict` takes: arrays (also a list, tuple or dictionary), a
                `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator of batches.
            batch_size: Rows of a step, where `steps` are counted. It changes neither the result
                nor the speed: see `chunk_size`.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            steps: Number of batches to take, by default all.
            keep_samples: Whether the result holds every sample, (samples, rows, …).
            quantiles: Probabilities, such as `(0.05, 0.95)`, of which the quantiles over the
                passes are wanted. The samples of one chunk are then held in memory at a time.
            tau: As in the constructor, for this call.

        Returns:
            A `MonteCarloPrediction`.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of its range, or the data is empty or endless.
        """
        levels = None if quantiles is None else check_levels(quantiles)
        keep_samples = check_flag("keep_samples", keep_samples)
        tau = self.tau if tau is None else _check_tau(tau)
        run = self._start(verbose, tau, keep_samples, levels)
        for first, inputs, _, _ in self._runner.chunks(x, None, None, batch_size, steps):
            run.add(first, inputs)
        return run.prediction()

    def evaluate(
        self,
        x,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        *,
        tau=None,
        interval_level=0.95,
        bins=15,
    ):
        """Measures how good the predictions and their uncertainties are.

        Args:
            x: As in `predict`; a data set yields (inputs, targets) or (inputs, targets, weights).
            y: The targets, where `x` is arrays: class numbers or one-hot rows, 0 and 1, or
                numbers.
            batch_size: As in `predict`.
            verbose: As in `predict`.
            sample_weight: A weight for each row, where `x` is arrays.
            steps: As in `predict`.
            tau: As in the constructor, for this call. Without it the likelihood of a regression
                is that of the Gaussian with the passes' mean and variance, which knows of no noise
                in the data.
            interval_level: Probability of the central prediction interval whose coverage is
                measured, for a regression. Defaults to `0.95`.
            bins: Number of bins of the reliability diagram, at least 2. Defaults to `15`.

        Returns:
            A `MonteCarloEvaluation`, or for several outputs a structure of them.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of its range, or the targets do not fit.
        """
        tau = self.tau if tau is None else _check_tau(tau)
        interval_level = check_number("interval_level", interval_level, above=0, below=1)
        bins = check_integer("bins", bins, minimum=2)
        run = self._start(verbose, tau)
        chunks = self._runner.chunks(x, y, sample_weight, batch_size, steps)
        for first, inputs, targets, weights in chunks:
            if targets is None:
                raise ValueError("`y` is missing: evaluation compares predictions with targets.")
            run.add(first, inputs, targets, weights)
        return run.evaluation(interval_level, bins)

    def _start(self, verbose, tau, keep_samples=False, levels=None):
        # A seed from the system: nobody else's random numbers change.
        seed = int(np.random.SeedSequence().entropy % 2**63) if self.seed is None else self.seed
        return MonteCarloRun(self._runner, self.samples, seed, verbose, tau, keep_samples, levels)


def _check_tau(tau):
    return None if tau is None else check_number("tau", tau, above=0)


def _check_classes(stochastic):
    classes = tuple(stochastic) if isinstance(stochastic, (list, tuple, set)) else (stochastic,)
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, keras.Layer):
            raise TypeError(
                "`stochastic` must be a list of layer classes, not of layers. "
                f"Received: stochastic={stochastic!r}."
            )
    return classes
