"""Random numbers that are a function of (seed, pass, row, stream, unit), computed in the graph."""

import math

from keras import ops

# Odd constants with well-mixed bits: 2³²/φ (Knuth, 1973, 6.4) and those of MurmurHash3.
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35


class CounterNoise:
    """Noise for rows of a batch, from a hash of counters instead of a generator.

    A row's noise depends on nothing but the seed, the number of the pass, the number of the row,
    the stream (which layer, which call of it) and the unit: not on the batch the row lies in, nor
    on what was drawn before. It is several times cheaper than the backends' generators, and
    works with 32-bit integers that wrap around, which all backends have (torch has no shift of
    unsigned ones on a CPU). It is no cryptographic hash.

    Args:
        seed_words: int32 tensor with two entries, from `seed_words`.
        passes: int32 tensor of shape (batch,): the pass each row of the batch belongs to.
        rows: int32 tensor of shape (batch,): the number of each row in the data.
        batch: The length of both, a whole number.
        one_pass: Whether all rows belong to the same pass.

    Example:

    ```python
    import numpy as np
    from keras import ops
    from keras_deeptricks.utils.counter_noise import CounterNoise, seed_words

    words = ops.convert_to_tensor(seed_words(7))
    rows = ops.arange(4, dtype="int32")
    noise = CounterNoise(words, 0 * rows, rows, batch=4, one_pass=True)
    later = CounterNoise(words, 0 * rows[2:], rows[2:], batch=2, one_pass=True)
    assert np.array_equal(noise.bits((4, 3), stream=0)[2:], later.bits((2, 3), stream=0))
    ```

    Reference: Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011 (the
    principle); Appleby, MurmurHash3, 2011 (the finalizer `fmix32`).
    """

    def __init__(self, seed_words, passes, rows, batch, one_pass):
        # Hashed step by step, not summed with weights: sums of counters would meet again.
        self.pass_keys = mix(mix(passes * _signed(_GOLDEN) + seed_words[0]) + seed_words[1])
        self.row_keys = mix(mix(rows * _signed(_GOLDEN) + seed_words[1]) + self.pass_keys)
        self.batch = batch
        self.one_pass = one_pass
        # Whether noise was asked for something without rows. (Keras turns `RowsDoNotFit` into
        # another error on its way up.)
        self.misfit = False

    def bits(self, shape, stream, shared=False):
        """32 random bits, as int32, for each entry of a tensor.

        Args:
            shape: The shape, with the rows along the first axis. A first axis that is a multiple
                of the batch is taken for rows with another axis merged into it.
            stream: A whole number; streams are independent.
            shared: Whether all rows of a pass have the same numbers, as also where the first axis
                is 1 in a longer batch. The first axis is then 1 or `batch` long.

        Raises:
            RowsDoNotFit: the first axis holds no rows.
        """
        first, *others = shape
        shared = shared or (isinstance(first, int) and first == 1 and self.batch > 1)
        keys = self.row_keys
        if shared:
            keys = self.pass_keys[:1] if self.one_pass else self.pass_keys
            shape = (1 if self.one_pass else self.batch, *others)
            units = math.prod(others)
        elif isinstance(first, int) and first != self.batch:
            size = math.prod(shape)
            if isinstance(size, int) and first % self.batch == 0:
                units = size // self.batch
            else:
                self.misfit = True
                if not self.one_pass:
                    raise RowsDoNotFit(first, self.batch)
                # No rows: one noise for the pass.
                keys, units = self.pass_keys[:1], size
        else:
            units = math.prod(others)
        unit_keys = mix(ops.arange(units, dtype="int32") * _signed(_GOLDEN) + stream_key(stream))
        return ops.reshape(mix(ops.expand_dims(keys, 1) + unit_keys), shape)

    def keep(self, shape, rate, stream, shared=False):
        """True with probability 1 − `rate` (to within 2⁻³²), of the shape as in `bits`."""
        # The sign is dropped: the threshold has to be a positive int32.
        threshold = round(rate * 2**31)
        return ops.bitwise_and(self.bits(shape, stream, shared), 2**31 - 1) >= threshold

    def uniform(self, shape, stream):
        """Uniform numbers in float32, multiples of 2⁻²⁴ from 0 to below 1."""
        return ops.cast(_shift(self.bits(shape, stream), 8), "float32") * 2.0**-24

    def normal(self, shape, stream):
        """Standard normal numbers in float32, at most 5.3 deviations from zero."""
        # 23 bits, so that odd multiples of 2⁻²³ fill the open interval from −1 to 1 exactly.
        counts = _shift(self.bits(shape, stream), 9)
        uniform = ops.cast(2 * counts + (1 - 2**23), "float32") * 2.0**-23
        return ops.erfinv(uniform) * math.sqrt(2.0)

    def generator_key(self, stream):
        """Two int32 words for a backend's generator: one draw for the whole batch."""
        words = ops.stack([self.row_keys[0], mix(self.row_keys[0] + self.pass_keys[0])])
        return mix(words + ops.convert_to_tensor(stream_key(stream), dtype="int32"))


class RowsDoNotFit(ValueError):
    """A tensor that noise is asked for has no rows of the batch along its first axis."""

    def __init__(self, length, batch):
        super().__init__(
            f"The first axis of a tensor in the model, of length {length}, does not hold the "
            f"{batch} rows of the batch."
        )


def seed_words(seed):
    """Two int32 numbers from a seed of any size, as a list."""
    state, words = seed, []
    for _ in range(2):
        # SplitMix64 (Steele, Lea & Flood, 2014), which tells neighbouring seeds well apart.
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(_signed((z ^ (z >> 31)) >> 32))
    return words


def stream_key(stream):
    """An int32 number for a stream: `mix` of it, as a Python number."""
    h = (stream * _GOLDEN + 0x7F4A7C15) % 2**32
    h = (h ^ (h >> 16)) * _MIX_1 % 2**32
    h = (h ^ (h >> 13)) * _MIX_2 % 2**32
    return _signed(h ^ (h >> 16))


def mix(h):
    """The finalizer of MurmurHash3: each bit of an int32 depends on each bit of the result."""
    h = ops.bitwise_xor(h, _shift(h, 16)) * _signed(_MIX_1)
    h = ops.bitwise_xor(h, _shift(h, 13)) * _signed(_MIX_2)
    return ops.bitwise_xor(h, _shift(h, 16))


def _shift(h, count):
    """Shifts right and fills with zeros, which int32 does not do by itself."""
    return ops.bitwise_and(ops.right_shift(h, count), (1 << (32 - count)) - 1)


def _signed(value):
    """The int32 of the same bits as an unsigned number below 2³²."""
    return value - 2**32 if value >= 2**31 else value
