"""Data of the programs: scikit-learn's own and synthetic, shuffled, scaled as they should be."""

import functools

import keras
import numpy as np
import sklearn.datasets


@functools.cache
def _load(name):
    return getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)


def standardized(x):
    """Each column with mean 0 and deviation 1."""
    return ((x - x.mean(0)) / x.std(0)).astype("float32")


def digits(rows=1200, flat=False):
    """Images of digits in 0..1, of shape (rows, 8, 8, 1) or (rows, 64), and their classes."""
    x, y = _load("digits")
    order = np.random.default_rng(0).permutation(len(y))[:rows]
    x = (x[order] / 16).astype("float32")
    return x if flat else x.reshape(-1, 8, 8, 1), y[order].astype("int32")


def raw_table(name):
    """A table of scikit-learn as it comes, its rows shuffled, and its targets."""
    x, y = _load(name)
    order = np.random.default_rng(0).permutation(len(y))
    return x[order].astype("float32"), y[order]


def table(name):
    """A standardized table and its classes."""
    x, y = raw_table(name)
    return standardized(x), y.astype("int32")


def diabetes():
    """Ten standardized features, and standardized targets of shape (442,)."""
    x, y = raw_table("diabetes")
    return standardized(x), standardized(y)


def moons(rows=800):
    """Two interleaved half circles, standardized, and their classes."""
    x, y = sklearn.datasets.make_moons(rows, noise=0.15, random_state=0)
    return standardized(x), y.astype("int32")


def blobs(rows=1000, features=12, classes=4, seed=0):
    """Classes in a table of standardized features."""
    x, y = sklearn.datasets.make_classification(
        rows,
        features,
        n_informative=8,
        n_redundant=0,
        n_classes=classes,
        n_clusters_per_class=1,
        class_sep=1.5,
        random_state=seed,
    )
    return standardized(x), y.astype("int32")


def smooth(rows=1000, features=6, seed=0):
    """Standardized inputs, and standardized targets of shape (rows, 1) that bend smoothly."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)).astype("float32")
    y = np.sin(1.5 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + x[:, 3:4]
    return x, standardized(y + 0.1 * rng.normal(size=y.shape))


def sentences(rows=1000, length=16, words=60):
    """Token sequences padded with 0; class 1 if words 1..9 outnumber words 10..19."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, words, size=(rows, length))
    strong = rng.random((rows, 1)) < 0.5
    tokens = np.where(strong, rng.integers(1, 10, x.shape), rng.integers(10, 20, x.shape))
    x = np.where(rng.random(x.shape) < 0.3, tokens, x)
    x[np.arange(length) >= rng.integers(10, length + 1, size=(rows, 1))] = 0
    score = ((x > 0) & (x < 10)).sum(1) - ((x >= 10) & (x < 20)).sum(1)
    kept = score != 0
    return x[kept].astype("int32"), (score[kept] > 0).astype("int32")


def windows(rows=800, length=20):
    """Windows of a noisy wave, shape (rows, length, 1), and the next value, shape (rows, 1)."""
    rng = np.random.default_rng(0)
    time = np.arange(rows + length)
    wave = np.sin(0.4 * time) + 0.5 * np.sin(0.13 * time) + 0.05 * rng.normal(size=time.size)
    wave = standardized(wave)
    x = np.lib.stride_tricks.sliding_window_view(wave, length)[:rows]
    order = rng.permutation(rows)
    return x[order][..., None].copy(), wave[length:][order][:, None]


def signals(rows=900, length=24, classes=3):
    """Noisy waves of one of three frequencies, shape (rows, length, 1), and their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    phase = rng.uniform(0, 2 * np.pi, (rows, 1))
    wave = np.sin((0.25 + 0.3 * y[:, None]) * np.arange(length) + phase)
    x = 1.4 * wave + 0.2 * rng.normal(size=wave.shape)
    return x[..., None].astype("float32"), y.astype("int32")


def one_hot(y, classes=None):
    """Classes as rows of 0 and 1."""
    return keras.utils.to_categorical(y, classes).astype("float32")


class Batches(keras.utils.PyDataset):
    """Batches of arrays in their order, as many pipelines give them."""

    def __init__(self, x, y, batch_size=32, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[rows], self.y[rows]
