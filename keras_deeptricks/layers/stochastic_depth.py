"""Merging a residual branch that is dropped at random in training."""

import keras
from keras import ops

from keras_deeptricks.utils.checks import check_choice, check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_deeptricks")
class StochasticDepth(keras.layers.Layer):
    """Adds a residual branch to its shortcut; in training it drops the branch at random.

    In place of the `Add` at the end of each residual block of a graph: the network is shorter in
    training and whole in inference, where the branch counts by its survival probability. The
    branch is computed also where it is dropped; `keras_deeptricks.layers.Residual` and
    `ResidualBlock` save that time.

    | | output |
    |---|---|
    | training | shortcut + b·branch, b = 1 with the survival probability, else 0 |
    | inference | shortcut + survival_probability·branch |

    Args:
        survival_probability: Probability to keep the branch, from 0 to 1.
        mode: `"batch"`: one draw for the mini-batch, as in the paper; or `"row"`: one for each
            row, also called drop path.
        seed: A whole number or None. Layers of equal seeds draw alike.
        **kwargs: The arguments of `keras.Layer`.

    Input: a list of two tensors of the same shape, shortcut and branch. Output shape: the same.

    Raises:
        TypeError: `survival_probability` is not a number.
        ValueError: An argument is out of its range, or the inputs are not two of one shape.

    Example:

    ```python
    import keras
    import keras_deeptricks as kdt

    inputs = keras.Input((16,))
    branch = keras.layers.Dense(16, activation="relu")(inputs)
    outputs = kdt.layers.StochasticDepth(0.8, seed=1)([inputs, branch])
    model = keras.Model(inputs, outputs)
    ```

    Reference: Huang, Sun, Liu, Sedra & Weinberger, Deep networks with stochastic depth, 2016,
    equations 2 and 5.
    """

    def __init__(self, survival_probability, mode="batch", seed=None, **kwargs):
        super().__init__(**kwargs)
        self.survival_probability = check_number(
            "survival_probability", survival_probability, minimum=0, maximum=1
        )
        self.mode = check_choice("mode", mode, ("batch", "row"))
        self.seed = None if seed is None else check_integer("seed", seed, minimum=0)
        self.supports_masking = True
        if self.survival_probability < 1:
            # Torch adds seed and step: blocks with neighbouring seeds would drop out one after
            # the other.
            seed = None if self.seed is None else _mixed(self.seed)
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        several = isinstance(input_shape, (list, tuple)) and len(input_shape) == 2
        if not several or not all(isinstance(shape, (list, tuple)) for shape in input_shape):
            raise ValueError(
                "The input of StochasticDepth must be a list of two tensors, [shortcut, branch]. "
                f"Received an input of shape {input_shape}."
            )
        shortcut, branch = input_shape
        fits = len(shortcut) == len(branch) and all(
            a == b or None in (a, b) for a, b in zip(shortcut, branch, strict=True)
        )
        if not fits:
            raise ValueError(
                "Shortcut and branch must have the same shape. Received: "
                f"{tuple(shortcut)} and {tuple(branch)}. Project the shortcut to the branch's."
            )
        super().build(input_shape)

    def call(self, inputs, training=None):
        shortcut, branch = inputs
        if training and self.survival_probability < 1:
            rank = len(branch.shape)
            shape = () if self.mode == "batch" else (ops.shape(branch)[0],) + (1,) * (rank - 1)
            return shortcut + ops.where(self.draw(shape), branch, ops.zeros_like(branch))
        if self.survival_probability == 1:
            return shortcut + branch
        return shortcut + self.survival_probability * branch

    def draw(self, shape=()):
        """True with the survival probability, False otherwise; a tensor of the given shape."""
        if self.survival_probability == 1:
            return ops.ones(shape, "bool")
        return keras.random.uniform(shape, seed=self.seed_generator) < self.survival_probability

    def compute_output_shape(self, input_shape):
        return input_shape[1]

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]

    def get_config(self):
        return {
            **super().get_config(),
            "survival_probability": self.survival_probability,
            "mode": self.mode,
            "seed": self.seed,
        }


def _mixed(seed):
    from keras_deeptricks.utils.counter_noise import seed_words

    return seed_words(seed)[0] % 2**31


def survival_probabilities(blocks, last=0.5):
    """The survival probability of each residual block, falling linearly to the last one's.

    p_l = 1 − (l/L)·(1 − p_L): the first blocks, whose features all later ones use, hardly ever
    drop out.

    Args:
        blocks: L, the number of blocks, at least 1.
        last: p_L, the survival probability of the last block, from 0 to 1. Defaults to `0.5`,
            the paper's choice.

    Returns:
        A list of `blocks` floats.

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of its range.

    Example:

    ```python
    import keras_deeptricks as kdt

    assert kdt.layers.survival_probabilities(4, last=0.5) == [0.875, 0.75, 0.625, 0.5]
    ```

    Reference: Huang et al., Deep networks with stochastic depth, 2016, equation 4.
    """
    blocks = check_integer("blocks", blocks, minimum=1)
    last = check_number("last", last, minimum=0, maximum=1)
    return [1 - block / blocks * (1 - last) for block in range(1, blocks + 1)]
