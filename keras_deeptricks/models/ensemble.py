"""Several models whose predictions are averaged, as one Keras model."""

import keras
from keras import ops

from keras_deeptricks.models.member_specs import check_same_specs
from keras_deeptricks.models.members import check_member_weights, check_sources, read_member


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Ensemble(keras.Model):
    """The mean of the predictions of several models, as one model that predicts, trains and saves.

    Models that were trained from different starts, or snapshots of one run, make different
    mistakes: the mean of their predictions is better than one of them nearly always, and how far
    they disagree (`uncertainty`) tells how far to trust it. For classifiers it is the mean of the
    probabilities; where the members give logits, say so by `activation="softmax"`.

    The members given as models are the ensemble's own layers, not copies: it never changes them
    unless it is itself trained, which trains them all jointly on the loss of the mean. Outputs
    are averaged in float32 or wider, whatever precision the members have.

    Args:
        models: A list of built models of any kind with equal inputs and outputs, of weight files
            (`.weights.h5`) or of saved models (`.keras`, read in safe mode); also mixed.
        model: The model that weight files belong to. Each is read into a copy; it stays as it is.
        weights: A number ≥ 0 for each member, not all 0; by default all count the same.
        activation: Name of an activation, or a Keras or registered function, applied to every
            output of every member before the mean is taken; None for none.
        **kwargs: The arguments of `keras.Model`, such as `name`.

    Attributes:
        members: The models, in the order given.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the members' inputs or outputs differ, or
            two of them share a weight.
        FileNotFoundError: One of the files does not exist.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    members = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, verbose=0)
        members.append(model)
    ensemble = kdt.models.Ensemble(members)
    assert ensemble.predict(x, verbose=0).shape == (64, 2)
    ensemble.save("ensemble.keras")
    ```

    Reference: Lakshminarayanan, Pritzel & Blundell, Simple and scalable predictive uncertainty
    estimation using deep ensembles, 2017; Hansen & Salamon, Neural network ensembles, 1990.
    """

    def __init__(self, models, model=None, weights=None, activation=None, **kwargs):
        sources = check_sources(models, model)
        weights = check_member_weights(weights, len(sources))
        _check_activation(activation)
        members = [read_member(source, model) for source in sources]
        _check_apart(members)
        spec = check_same_specs(members)
        kwargs.setdefault("dtype", members[0].dtype_policy)
        # The members see the inputs as they came, each in its own precision.
        super().__init__(autocast=False, **kwargs)
        self.members = members
        self.member_weights = weights
        self.activation = None if activation is None else keras.activations.get(activation)
        # Built here, so that it can be saved and exported before it has seen data.
        self(spec)

    def member_outputs(self, inputs, training=None):
        """The outputs of each member, after the activation and in float32 or wider, as a list."""
        # Told in so many words: on JAX a training step does not hand it down by itself. Members
        # whose `call` does not ask for it do not get it.
        outputs = [member(inputs, training=training) for member in self.members]
        return [keras.tree.map_structure(self._finish, output) for output in outputs]

    def _finish(self, output):
        # A float16 mean of probabilities would lose what distinguishes the members.
        output = ops.cast(output, keras.backend.result_type(output.dtype, "float32"))
        return output if self.activation is None else self.activation(output)

    def call(self, inputs, training=None):
        outputs = self.member_outputs(inputs, training)
        return keras.tree.map_structure(self._mean, *outputs)

    def _mean(self, *outputs):
        weights = self.member_weights
        if weights is None:
            return sum(outputs[1:], outputs[0]) / len(outputs)
        total = sum(weights)
        return sum(o * (w / total) for o, w in zip(outputs, weights, strict=True))

    def uncertainty(
        self,
        x,
        batch_size=None,
        verbose="auto",
        steps=None,
        quantiles=None,
        keep_samples=False,
        tau=None,
        task="auto",
    ):
        """How far the members agree: their predictions taken as samples, row by row.

        One pass over the data, in which every member predicts each batch; the members'
        predictions are in memory together. Each call compiles its own prediction step.

        Args:
            x: Arrays, a `tf.data.Dataset`, a `PyDataset`, or a generator, as `predict` takes it.
            batch_size: Rows per batch of arrays. Defaults to 32.
            verbose: As in `predict`.
            steps: Number of batches, for data without an end.
            quantiles: Levels from 0 to 1 of the quantiles to compute, or None.
            keep_samples: Whether the result keeps every member's predictions.
            tau: Precision of the noise of the targets (regression), 1/variance, or None.
            task: `"classification"`, `"binary"`, `"regression"`, or one for each output;
                `"auto"` tells it from the loss, the last activation and the outputs.

        Returns:
            A `MonteCarloPrediction`; for several outputs one for each, in their structure.

        Raises:
            ValueError: The members have unequal weights, for which samples cannot stand.
        """
        # Here and below: the results' classes are not loaded before they are asked for.
        from keras_deeptricks.models.member_samples import member_samples, prediction_of, told_task

        self._refuse_weights()
        samples = member_samples(self, x, batch_size, verbose, steps)
        task = told_task(self, samples, task)
        return prediction_of(samples, task, tau=tau, quantiles=quantiles, keep_samples=keep_samples)

    def evaluate_uncertainty(
        self,
        x,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        *,
        tau=None,
        task="auto",
        interval_level=0.95,
        bins=15,
    ):
        """How good the mean and the disagreement of the members are, measured on targets.

        Args:
            x: As in `uncertainty`; a data set yields (inputs, targets) or with weights too.
            y: The targets, where `x` is arrays.
            batch_size: As in `uncertainty`.
            verbose: As in `uncertainty`.
            sample_weight: A weight for each row, where `x` is arrays.
            steps: As in `uncertainty`.
            tau: As in `uncertainty`. Without it the likelihood of a regression is that of the
                Gaussian with the members' mean and variance, which knows no noise in the data.
            task: As in `uncertainty`.
            interval_level: Probability of the central interval whose coverage is measured, for a
                regression. Defaults to `0.95`.
            bins: Number of bins of the reliability diagram. Defaults to `15`.

        Returns:
            A `MonteCarloEvaluation`; for several outputs one each, in their structure.

        Raises:
            ValueError: There are no targets, they do not fit, or the members' weights are unequal.
        """
        from keras_deeptricks.models.member_samples import (
            evaluation_of,
            member_samples_and_targets,
            told_task,
        )

        self._refuse_weights()
        samples, targets, weights = member_samples_and_targets(
            self, x, y, sample_weight, batch_size, verbose, steps
        )
        return evaluation_of(
            samples,
            told_task(self, samples, task),
            targets,
            weights,
            tau,
            interval_level=interval_level,
            bins=bins,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "models": [_configuration(member) for member in self.members],
            "model": None,
            "weights": None if self.member_weights is None else list(self.member_weights),
            "activation": _serialized(self.activation),
        }

    @classmethod
    def from_config(cls, config):
        members = [keras.saving.deserialize_keras_object(member) for member in config["models"]]
        return cls(**{**config, "models": members})

    def _refuse_weights(self):
        if self.member_weights is not None and len(set(self.member_weights)) > 1:
            raise ValueError(
                "`weights` must be equal for an uncertainty: its samples all count the same. "
                f"Received: weights={list(self.member_weights)}. Make an Ensemble of the same "
                "members without `weights`."
            )


def _configuration(member):
    """A member as a configuration, without its optimizer: it trains with the ensemble's."""
    return {**keras.saving.serialize_keras_object(member), "compile_config": None}


def _serialized(activation):
    return None if activation is None else keras.activations.serialize(activation)


def _check_activation(activation):
    """Raises a clear error unless an activation, or None, can be used and saved."""
    try:
        found = keras.activations.get(activation)
        # Anything else would be saved and could not be loaded.
        known = isinstance(activation, dict) or (
            getattr(found, "__name__", "") != "<lambda>"
            and keras.activations.get(_serialized(found)) is found
        )
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(
            "`activation` must be the name of a Keras activation, a function of keras.activations "
            "or a registered one, or None; a function of your own becomes one by "
            "@keras.saving.register_keras_serializable(). "
            f"Received: activation={activation!r}."
        )


def _check_apart(members):
    """Raises a clear error if two members share a weight."""
    owners = {}
    for place, member in enumerate(members):
        for variable in member.weights:
            other = owners.setdefault(id(variable), place)
            if other != place:
                raise ValueError(
                    f"`models` must not share weights, but models[{other}] and models[{place}] "
                    f"both have '{variable.path}'. Copy one with keras.models.clone_model and "
                    "set_weights."
                )
