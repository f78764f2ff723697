"""A residual connection around any layers, whose branch training may really skip."""

import inspect
import weakref

import keras
from keras import ops

from keras_deeptricks.layers.stochastic_depth import StochasticDepth
from keras_deeptricks.utils import backend
from keras_deeptricks.utils.checks import check_choice
from keras_deeptricks.utils.composite import Composite


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class Residual(Composite):
    """Adds its input to what a branch of layers makes of it: activation(shortcut(x) + branch(x)).

    With a survival probability below 1 this is stochastic depth: a branch that the draw of a
    mini-batch drops is not computed at all, forward or backward, and its batch norm statistics
    and dropout seeds stay untouched. In inference every branch counts by its survival
    probability.

    A dropped branch has zero gradients, not absent ones, as with any layer that does not
    contribute: the momentum of the optimizer and weight decay go on moving its weights.

    Args:
        branch: A layer, or a list of layers that are called one after the other.
        shortcut: A layer or list of layers for the shortcut, such as a projection where the
            branch changes the shape, or None for the input itself.
        activation: What follows the sum: a name or function as in `keras.layers.Activation`, or
            None.
        survival_probability: Probability that a mini-batch computes the branch, from 0 to 1.
            Defaults to `1.0`. See `keras_deeptricks.layers.survival_probabilities`.
        skip: True: a dropped branch is skipped. False: it is computed and thrown away, with the
            same result. `"auto"`: True but for JAX on a CPU, which runs convolutions inside a
            conditional many times more slowly.
        seed: Whole number for the draws, or None. Layers of equal seeds are dropped together.
        dtype: The policy of the sum and the activation; the branch's layers have their own.
        **kwargs: The arguments of `keras.Layer`.

    Input shape: any. Output shape: the branch's.

    Raises:
        TypeError: `branch` or `shortcut` is no layer or list of layers.
        ValueError: An argument is out of its range, or branch and shortcut differ in shape.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    model = keras.Sequential([keras.Input((32,))])
    for probability in kdt.layers.survival_probabilities(8, last=0.5):
        branch = [
            keras.layers.LayerNormalization(),
            keras.layers.Dense(64, activation="gelu"),
            keras.layers.Dense(32),
        ]
        model.add(kdt.layers.Residual(branch, survival_probability=probability))
    ```

    Reference: He, Zhang, Ren & Sun, Deep residual learning, 2015, equations 1 and 2; Huang et
    al., Deep networks with stochastic depth, 2016, equations 2 and 5.
    """

    def __init__(
        self,
        branch,
        shortcut=None,
        activation=None,
        survival_probability=1.0,
        skip="auto",
        seed=None,
        dtype=None,
        **kwargs,
    ):
        # It has no weights and computes nothing: its layers must find their variables as they are.
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.branch = _one_layer("branch", branch)
        self.shortcut = None if shortcut is None else _one_layer("shortcut", shortcut)
        self.merge = StochasticDepth(
            survival_probability, seed=seed, dtype=dtype, name=f"{self.name}_merge"
        )
        self.activation = None
        if activation is not None:
            name = f"{self.name}_activation"
            self.activation = keras.layers.Activation(activation, dtype=dtype, name=name)
        self.skip = check_choice("skip", skip, ("auto", True, False))
        self.supports_masking = True
        self._adds_losses = False

    @property
    def survival_probability(self):
        """The probability that a mini-batch computes the branch."""
        return self.merge.survival_probability

    def build(self, input_shape):
        shapes = [input_shape, input_shape]
        for position, layer in enumerate((self.shortcut, self.branch)):
            if layer is not None:
                _build(layer, input_shape)
                shapes[position] = _output_shape(layer, input_shape)
        if not self.merge.built:
            self.merge.build(shapes)
        super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        call = _calls_with(training, mask, inputs)
        if not training or self.survival_probability == 1:
            return self.call_parts(call, inputs)
        shortcut = inputs if self.shortcut is None else call(self.shortcut, inputs)
        shortcut = ops.cast(shortcut, self.merge.compute_dtype)
        merged = self._drawn(call, inputs, shortcut)
        return merged if self.activation is None else self.activation(merged)

    def call_parts(self, call, inputs):
        shortcut = inputs if self.shortcut is None else call(self.shortcut, inputs)
        merged = call(self.merge, [shortcut, call(self.branch, inputs)])
        return merged if self.activation is None else call(self.activation, merged)

    def without_branch(self):
        """The layers that are left when the branch is cut out, in order; the same objects."""
        return [layer for layer in (self.shortcut, self.activation) if layer is not None]

    def compute_output_spec(self, inputs, training=None, mask=None):
        shape = self.compute_output_shape(inputs.shape)
        dtype = self.merge if self.activation is None else self.activation
        return keras.KerasTensor(shape, dtype=dtype.compute_dtype)

    def compute_output_shape(self, input_shape):
        return _output_shape(self.branch, input_shape)

    def get_config(self):
        config = super().get_config()
        activation = self.activation and self.activation.get_config()["activation"]
        return {
            **config,
            "branch": keras.saving.serialize_keras_object(self.branch),
            "shortcut": keras.saving.serialize_keras_object(self.shortcut),
            "activation": activation,
            "survival_probability": self.survival_probability,
            "skip": self.skip,
            "seed": self.merge.seed,
            "dtype": self.merge.get_config()["dtype"],
        }

    @classmethod
    def from_config(cls, config):
        layers = ("branch", "shortcut")
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in layers}
        return cls(**{**config, **parts})

    def _drawn(self, call, inputs, shortcut):
        """The sum in training, where the branch may be dropped.

        The branch runs on copies of its state and hands the new state out: a variable assigned
        inside a conditional would be lost or leak on JAX.
        """
        branch, losses = self.branch, []
        trainable = [variable.value for variable in branch.trainable_variables]
        state = [variable.value for variable in branch.non_trainable_variables]
        variables = [*branch.trainable_variables, *branch.non_trainable_variables]
        values = [*trainable, *state]

        def computed():
            mapping = list(zip(variables, values, strict=True))
            # Called as anywhere else: with its own precision, mask and activity regularizer.
            with keras.StatelessScope(mapping, collect_losses=True) as scope:
                outputs = ops.cast(call(branch, inputs), shortcut.dtype)
                losses[:] = self._own_losses()
            new_state = [scope.get_current_value(v) for v in branch.non_trainable_variables]
            penalty = ops.cast(sum(losses), keras.config.floatx()) if losses else ops.zeros(())
            return [outputs, penalty, *map(ops.convert_to_tensor, new_state)]

        def kept():
            outputs, *others = computed()
            return [shortcut + outputs, *others]

        def dropped():
            merged = shortcut + ops.zeros((), shortcut.dtype)
            if backend.computes_at_once():
                # Without it the gradients would be missing, not zero, of which Keras warns.
                merged += ops.cast(sum(0.0 * ops.sum(value) for value in trainable), merged.dtype)
            return [merged, ops.zeros(()), *state]

        keep = self.merge.draw()
        skip = backend.skips_quickly() if self.skip == "auto" else self.skip
        if skip:
            results = ops.cond(keep, kept, dropped)
        else:
            pairs = zip(computed(), [0.0, 0.0, *state], strict=True)
            results = [new if new is old else ops.where(keep, new, old) for new, old in pairs]
            results[0] = shortcut + results[0]
        merged, penalty, *new_state = results
        for n, variable in enumerate(branch.non_trainable_variables):
            # What is frozen is as before: torch needs it untouched to go backward.
            if new_state[n] is not state[n]:
                variable.assign(new_state[n])
        self._adds_losses |= bool(losses)
        if self._adds_losses:
            # Keras knows losses by their ids: those of the parts must not go to other tensors.
            _keep_alive(losses, penalty)
            self.add_loss(penalty)
        return merged

    def _own_losses(self):
        """The losses that the branch's layers have added in the call.

        Penalties of weights come last in the list; the model counts them in any case.
        """
        losses, weights = self.branch.losses, self.branch.trainable_weights
        return losses[: len(losses) - sum(weight.regularizer is not None for weight in weights)]


def _one_layer(name, value):
    several = isinstance(value, (list, tuple)) and len(value) > 0
    if several and all(isinstance(layer, keras.Layer) for layer in value):
        value = keras.Sequential(list(value), name=name)
    if not isinstance(value, keras.Layer):
        raise TypeError(
            f"`{name}` must be a layer or a list of at least one layer. Received: {name}={value!r}."
        )
    if isinstance(value, keras.Model):
        # It hands masks to its layers, of which Keras warns nevertheless.
        value.supports_masking = True
    return value


def _calls_with(training, mask, inputs):
    """Calls a layer; hands it `training`, and a mask of the inputs, if it takes them."""

    def call(layer, tensors):
        options = {"training": training, "mask": mask if tensors is inputs else None}
        taken = inspect.signature(layer.call).parameters
        return layer(tensors, **{k: v for k, v in options.items() if v is not None and k in taken})

    return call


def _keep_alive(parts, tensor):
    """Keeps Python objects as long as a tensor."""
    try:
        tensor._kept_alive = parts
    except AttributeError:
        # A tracer of JAX takes no attributes.
        weakref.finalize(tensor, parts.copy).atexit = False


def _build(layer, input_shape):
    if layer.built:
        return
    if type(layer).build is keras.Layer.build:
        # It may hold layers that only a call builds.
        layer(keras.Input(batch_shape=input_shape))
    else:
        layer.build(input_shape)


def _output_shape(layer, input_shape):
    try:
        return tuple(layer.compute_output_shape(input_shape))
    except NotImplementedError:
        return tuple(layer.compute_output_spec(keras.KerasTensor(input_shape)).shape)
