"""Noise from counters: what it is made of, its distribution, and its independence.

All seeds are fixed, so that no test is left to chance. The thresholds are those that a perfect
generator would pass with the probability that is stated beside them; `Z` stands for a p-value of
6e-7 (two-sided), small beside the few thousand comparisons that are made here.
"""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_deeptricks.utils.counter_noise import CounterNoise, RowsDoNotFit, seed_words, stream_key

Z = 5.0
RATES = (0.005, 0.1, 0.5, 0.9)
# Seed 42, stream 3: two units of row 0 and row 1 in pass 0, and of row 7 in pass 5.
WRITTEN_DOWN = [
    [0xF88D8629, 0xC00EBB81],
    [0xED508724, 0x29C128AA],
    [0x9C94EB5E, 0x476FF33A],
]


def noise(rows, passes=0, seed=1, batch=None, one_pass=None):
    """Noise for the given rows; `passes` is one for all or a list."""
    rows = np.asarray(rows, "int32")
    passes = np.broadcast_to(np.asarray(passes, "int32"), rows.shape)
    one_pass = len(set(passes.tolist())) == 1 if one_pass is None else one_pass
    words = ops.convert_to_tensor(seed_words(seed), dtype="int32")
    tensors = [ops.convert_to_tensor(np.array(part)) for part in (passes, rows)]
    return CounterNoise(words, *tensors, len(rows), one_pass)


def bits(source, shape, stream=0):
    return ops.convert_to_numpy(source.bits(shape, stream)).view("uint32")


def kept(source, shape, rate, stream=0):
    return ops.convert_to_numpy(source.keep(shape, rate, stream))


@pytest.fixture(scope="module")
def many():
    """2²⁰ words: 1024 rows of 1024 units."""
    return bits(noise(range(1024)), (1024, 1024))


# What the numbers are: a second implementation, in unsigned integers.


def fmix32(h):
    """Appleby, MurmurHash3, 2011: the finalizer."""
    h = np.asarray(h, "uint32").copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def reference_bits(seed, passes, rows, units, stream):
    """bits[row, unit] by the definition, all sums modulo 2³²."""
    golden = np.uint32(0x9E3779B1)
    first, second = (np.uint32(word % 2**32) for word in seed_words(seed))
    passes, rows = np.asarray(passes, "uint32"), np.asarray(rows, "uint32")
    with np.errstate(over="ignore"):
        pass_keys = fmix32(fmix32(passes * golden + first) + second)
        row_keys = fmix32(fmix32(rows * golden + second) + pass_keys)
        stream_word = fmix32(np.uint32(stream) * golden + np.uint32(0x7F4A7C15))
        unit_keys = fmix32(np.arange(units, dtype="uint32") * golden + stream_word)
        return fmix32(row_keys[:, None] + unit_keys)


def test_the_finalizer_by_published_values():
    # SMHasher's table for MurmurHash3_x86_32 of empty data, whose result is fmix32(seed).
    assert fmix32(0) == 0
    assert fmix32(1) == 0x514E28B7
    assert fmix32(0xFFFFFFFF) == 0x81F16F39


def test_seed_words_by_published_values():
    # The first two outputs of SplitMix64 from the state 1234567 (Rosetta Code), upper halves.
    outputs = (6457827717110365317, 3203168211198807973)
    assert [word % 2**32 for word in seed_words(1234567)] == [value >> 32 for value in outputs]
    assert seed_words(3) == seed_words(3 + 2**64)


def test_the_same_numbers_on_all_backends():
    found = bits(noise([0, 1, 7], passes=[0, 0, 5], seed=42), (3, 2), stream=3)
    expected = reference_bits(42, [0, 0, 5], [0, 1, 7], 2, 3)
    np.testing.assert_array_equal(found, expected)
    # Written down, so that results stay reproducible from version to version.
    np.testing.assert_array_equal(found, WRITTEN_DOWN)


def test_a_stream_key_is_the_finalizer_of_the_stream():
    for stream in (0, 1, 77, 3 * 2**20 + 5):
        with np.errstate(over="ignore"):
            word = np.uint32(stream) * np.uint32(0x9E3779B1) + np.uint32(0x7F4A7C15)
        assert stream_key(stream) % 2**32 == fmix32(word)


# What they depend on.


def test_bits_of_a_row_do_not_depend_on_its_batch():
    together = bits(noise(range(100)), (100, 3, 2))
    for rows in ([5], [99, 5, 5], range(50, 100)):
        alone = bits(noise(rows), (len(rows), 3, 2))
        np.testing.assert_array_equal(alone, together[list(rows)])
    passes = bits(noise([7, 5, 7], passes=[3, 0, 0]), (3, 3, 2))
    np.testing.assert_array_equal(passes[1:], together[[5, 7]])
    assert (passes[0] != passes[2]).all()


def test_one_number_of_noise_for_all_rows():
    one = bits(noise(range(4), passes=2), (1, 3))
    assert one.shape == (1, 3)
    # The same for any rows of the pass.
    np.testing.assert_array_equal(one, bits(noise(range(9, 14), passes=2), (1, 3)))
    several = bits(noise([0, 1, 0, 1], passes=[1, 1, 2, 2]), (1, 3))
    assert several.shape == (4, 3)
    np.testing.assert_array_equal(several[0], several[1])
    np.testing.assert_array_equal(several[2:], np.repeat(one, 2, axis=0))
    assert (several[0] != several[2]).all()


def test_an_axis_merged_into_the_rows():
    plain = bits(noise(range(4)), (4, 3, 2))
    np.testing.assert_array_equal(bits(noise(range(4)), (12, 2)), plain.reshape(12, 2))


def test_a_tensor_without_rows_has_noise_of_the_pass():
    source = noise(range(4), passes=2)
    assert not source.misfit
    weights = bits(source, (6, 2))
    assert source.misfit
    # 12 entries could be three for each row, but 6 rows of weights are none of 4 rows.
    np.testing.assert_array_equal(weights, bits(noise(range(8), passes=2), (6, 2)))
    assert len(np.unique(weights)) == 12


def test_a_tensor_without_rows_does_not_fit_several_passes():
    source = noise([0, 1], passes=[0, 1])
    with pytest.raises(RowsDoNotFit, match=r"length 3, does not hold the 2 rows"):
        source.bits((3, 2), 0)
    assert source.misfit


def test_generator_keys_differ_by_row_pass_and_stream():
    keys = [
        tuple(ops.convert_to_numpy(noise([row], passes=number, seed=seed).generator_key(stream)))
        for row, number, seed, stream in itertools.product(range(4), repeat=4)
    ]
    assert len(set(keys)) == 4**4
    assert all(len(key) == 2 for key in keys)


# Their distribution.


def test_each_bit_is_set_half_of_the_time(many):
    # A frequency of n fair coins has the standard error 1/(2√n).
    frequencies = np.array([np.mean(many >> np.uint32(bit) & 1) for bit in range(32)])
    assert abs(frequencies - 0.5).max() < Z / (2 * math.sqrt(many.size))


@pytest.mark.parametrize("shift", [24, 0])
def test_the_top_and_the_low_byte_are_uniform(many, shift):
    counts = np.bincount((many >> np.uint32(shift) & 255).ravel(), minlength=256)
    expected = many.size / 256
    statistic = np.sum((counts - expected) ** 2) / expected
    # χ² with 255 degrees of freedom has the mean 255 and the variance 2·255.
    assert abs(statistic - 255) < Z * math.sqrt(2 * 255)


@pytest.mark.parametrize("rate", RATES)
def test_masks_keep_the_share_that_the_rate_leaves(rate):
    mask = kept(noise(range(1024)), (1024, 1024), rate)
    error = math.sqrt(rate * (1 - rate) / mask.size)
    assert abs(mask.mean() - (1 - rate)) < Z * error
    # So do single rows and single units, of which each has 1024 entries.
    for axis in (0, 1):
        assert abs(mask.mean(axis=axis) - (1 - rate)).max() < Z * 32 * error
        # χ² of the 1024 shares: their spread is that of independent draws.
        statistic = np.sum(np.square((mask.mean(axis=axis) - (1 - rate)) / (32 * error)))
        assert abs(statistic - 1024) < Z * math.sqrt(2 * 1024)


def test_the_limits_of_the_rate():
    assert kept(noise(range(64)), (64, 64), 0.0).all()
    assert not kept(noise(range(64)), (64, 64), 1 - 2.0**-31).any()


def test_uniform_numbers():
    u = ops.convert_to_numpy(noise(range(1024)).uniform((1024, 1024), 0))
    assert u.dtype == "float32"
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_array_equal(u, bits(noise(range(1024)), (1024, 1024)) // 256 / 2**24)
    u = u.ravel().astype("float64")
    # The standard errors of the mean and variance of n uniform numbers.
    assert abs(u.mean() - 0.5) < Z / math.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < Z * math.sqrt((1 / 80 - 1 / 144) / u.size)
    # The largest gap to the distribution exceeds 2.5/√n with p = 7e-6.
    grid = np.linspace(0, 1, 401)
    below = np.searchsorted(np.sort(u), grid, side="left") / u.size
    assert abs(below - grid).max() < 2.5 / math.sqrt(u.size)


def test_normal_numbers():
    z = ops.convert_to_numpy(noise(range(1024)).normal((1024, 1024), 0))
    assert z.dtype == "float32"
    z = np.sort(z.ravel().astype("float64"))
    n = z.size
    # The standard errors of the moments of n normal numbers.
    assert abs(z.mean()) < Z / math.sqrt(n)
    assert abs(z.var() - 1) < Z * math.sqrt(2 / n)
    assert abs(np.mean(z**3)) < Z * math.sqrt(15 / n)
    assert abs(np.mean(z**4) - 3) < Z * math.sqrt(96 / n)
    # The largest gap to the normal distribution exceeds 2.5/√n with p = 2·exp(−2·2.5²) = 7e-6.
    grid = np.linspace(-4, 4, 401)
    below = np.searchsorted(z, grid, side="right") / n
    normal = [0.5 * (1 + math.erf(value / math.sqrt(2))) for value in grid]
    assert abs(below - normal).max() < 2.5 / math.sqrt(n)
    # Below and above ±5.31, the quantile of 2⁻²⁴; 3.9 is exceeded about 100 times on either side.
    assert 4.5 < z[-1] < 5.32
    assert -5.32 < z[0] < -4.5
    assert 50 < np.sum(z > 3.9) < 90 + 50
    assert 50 < np.sum(z < -3.9) < 90 + 50


# Their independence. For independent fair signs the mean of n products has the error 1/√n.


def signs(source, shape, stream=0):
    return np.where(bits(source, shape, stream) >> np.uint32(31), 1.0, -1.0)


def assert_uncorrelated(first, second):
    for a, b in ((first, second), (first[..., 1:], second[..., :-1])):
        assert abs(np.mean(a * b)) < Z / math.sqrt(a.size)


def test_rows_are_pairwise_uncorrelated():
    s = signs(noise(range(64)), (64, 4096))
    correlations = s @ s.T / 4096
    off = correlations[~np.eye(64, dtype=bool)]
    assert abs(off).max() < Z / math.sqrt(4096)
    # χ² of the 2016 pairs, which are independent of each other.
    assert abs(np.sum(off**2) * 4096 / 2 - 2016) < Z * math.sqrt(2 * 2016)


def test_units_are_pairwise_uncorrelated():
    s = signs(noise(range(4096)), (4096, 64))
    off = (s.T @ s / 4096)[~np.eye(64, dtype=bool)]
    assert abs(off).max() < Z / math.sqrt(4096)


@pytest.mark.parametrize("power", [0, 1, 2, 4, 8, 10, 16, 20, 24, 30])
def test_rows_that_differ_by_a_power_of_two_are_uncorrelated(power):
    rows = np.arange(64)
    assert_uncorrelated(signs(noise(rows), (64, 512)), signs(noise(rows + 2**power), (64, 512)))


@pytest.mark.parametrize("step", [1, 2, 64, 4096])
def test_passes_are_uncorrelated(step):
    first, second = (signs(noise(range(64), passes=t), (64, 512)) for t in (3, 3 + step))
    assert_uncorrelated(first, second)


def test_a_row_and_a_pass_do_not_stand_for_each_other():
    # If the counters were summed, row 2 of pass 1 would be row 1 of pass 2.
    rows, passes = np.divmod(np.arange(64), 8)
    s = signs(noise(rows, passes), (64, 4096))
    off = (s @ s.T / 4096)[~np.eye(64, dtype=bool)]
    assert abs(off).max() < Z / math.sqrt(4096)


@pytest.mark.parametrize("first, second", [(0, 1), (1, 2), (0, 2**20), (5, 3 * 2**20 + 5)])
def test_streams_are_uncorrelated(first, second):
    source = noise(range(64))
    assert_uncorrelated(signs(source, (64, 512), first), signs(source, (64, 512), second))


@pytest.mark.parametrize("first, second", [(1, 2), (0, 1), (0, 2**32), (7, 7 + 2**63)])
def test_seeds_are_uncorrelated(first, second):
    a, b = (signs(noise(range(64), seed=seed), (64, 512)) for seed in (first, second))
    assert_uncorrelated(a, b)


def test_no_stream_is_another_one_shifted():
    # Units enter as unit · odd number + key of the stream: the keys must lie far apart.
    inverse = pow(0x9E3779B1, -1, 2**32)
    keys = [stream_key(stream) for stream in range(32)]
    shifts = [(a - b) * inverse % 2**32 for a, b in itertools.combinations(keys, 2)]
    assert min(min(shift, 2**32 - shift) for shift in shifts) > 2**23


def test_the_bits_of_a_word_are_uncorrelated(many):
    s = 1 - 2 * (many.reshape(-1, 1) >> np.arange(32, dtype="uint32") & 1).astype("float32")
    # Sums of ±1 up to 2²⁰ are exact in float32.
    off = (s.T @ s / len(s))[~np.eye(32, dtype=bool)]
    assert abs(off).max() < Z / math.sqrt(len(s))
    # χ² of the 496 pairs.
    assert abs(np.sum(off**2) * len(s) / 2 - 496) < Z * math.sqrt(2 * 496)


def test_random_bits_are_integers_of_32_bits():
    assert keras.backend.standardize_dtype(noise([0, 1]).bits((2, 2), 0).dtype) == "int32"
