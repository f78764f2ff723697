"""How much the error of a residual network rises when single blocks are deleted."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.gated_scores import GatedScores
from keras_deeptricks.models.lesion import choose_blocks
from keras_deeptricks.utils.backend import random_order_preserved
from keras_deeptricks.utils.checks import check_integer
from keras_deeptricks.utils.results import Result
from keras_deeptricks.utils.training_state import preserved

# By default the scores are taken for about this many numbers of deleted blocks.
_COUNTS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class LesionStudy(Result):
    """The scores of a residual network without single blocks, and without several at random.

    Attributes:
        metric: Name of the score, such as `"accuracy"` or `"loss"`.
        blocks: Names of the n blocks, in the order of computation.
        projected: For each block whether its shortcut is something else than its input: a
            projection, padding or pooling, mostly where the network downsamples.
        whole: The score of the whole model.
        single: The score without each block's branch, shape (n,).
        counts: Numbers of blocks deleted at once, shape (c,).
        several: Scores without that many randomly chosen blocks, shape (c, draws).
    """

    metric: str
    blocks: list
    projected: np.ndarray
    whole: float
    single: np.ndarray
    counts: np.ndarray
    several: np.ndarray

    plot_function = "plot_lesion_study"

    def __str__(self):
        width = max(map(len, [*self.blocks, "without"]))
        lines = [f"{'without':{width}}  {self.metric}", f"{'nothing':{width}}  {self.whole:.4g}"]
        for name, score, projected in zip(self.blocks, self.single, self.projected, strict=True):
            lines.append(f"{name:{width}}  {score:.4g}{'  (projected)' if projected else ''}")
        for count, scores in zip(self.counts, self.several, strict=True):
            what = f"{count} at random"
            lines.append(f"{what:{width}}  {scores.mean():.4g} ± {scores.std():.2g}")
        return "\n".join(lines)

    def plot(self, ax=None):
        """Draws both figures of the study; needs Matplotlib.

        Args:
            ax: Two Matplotlib `Axes`, for single and for several blocks, or one `Axes` for the
                single ones alone. By default those of a new figure: two, or one where the study is
                of single blocks only.

        Returns:
            What was drawn on: an array of two `Axes`, or one `Axes`.
        """
        return super().plot(ax)


def lesion_study(
    model,
    x,
    y=None,
    *,
    blocks=None,
    metric=None,
    several=None,
    draws=5,
    batch_size=None,
    sample_weight=None,
    seed=0,
    verbose=0,
):
    """Scores a residual network without each of its blocks, and without several at random.

    To see which blocks a trained network could do without, and whether it behaves like an
    ensemble: then no single block matters much (those that downsample do more), and the error
    grows smoothly with the number of deleted blocks.

    A deleted block is its shortcut alone, as in `keras_deeptricks.models.lesion`. All scores come
    from one compiled model, in which the branches are switched on and off, by `evaluate`. The given
    model comes back with its weights, optimizer, seeds and metrics untouched.

    Args:
        model: A built Functional or Sequential `keras.Model` with residual blocks.
        x, y: Test data as for `model.evaluate`: arrays, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`. It is read once per score.
        blocks: A block, a name or a pattern, or a list of these, as for `lesion`. By default all.
        metric: The score: the name that `model.evaluate` gives it (`"accuracy"`, `"loss"`), or a
            `keras.metrics.Metric` or a function of targets and predictions, for which the model
            need not be compiled. By default the first metric of the compiled model that is no
            loss, or else its loss. The loss has the penalties of all weights in it.
        several: Numbers of blocks to delete at once, a list; an empty one for single blocks only.
            By default up to 8 numbers from 1 to that of all blocks.
        draws: Random choices of blocks for each of these numbers, at least 1. Defaults to `5`.
        batch_size: Rows of a batch, for arrays. As in Keras, 32 by default.
        sample_weight: As for `model.evaluate`.
        seed: Whole number that fixes the choices. NumPy's global generator is not touched.
        verbose: 1 for a progress bar over the scores, 0 for silence. Defaults to 0.

    Returns:
        A `LesionStudy`; `print` shows a table, `plot()` draws both curves.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The model has no residual blocks, is not compiled where it must be, has no
            such metric, one that cannot be copied or a `test_step` of its own, `x` is a generator,
            which can be read only once, or an argument is out of its range.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32)])
    for _ in range(4):
        model.add(kdt.layers.Residual([
            keras.layers.LayerNormalization(), keras.layers.Dense(32, activation="gelu"),
        ]))
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=3, verbose=0)

    study = kdt.diagnostics.lesion_study(model, x, y, several=[1, 2, 4], batch_size=128)
    print(study)
    assert study.single.shape == (4,) and study.several.shape == (3, 5)
    ```

    Reference: Veit, Wilber & Belongie, Residual networks behave like ensembles of relatively
    shallow networks, 2016, sections 4.1 and 4.2, figures 3 and 5a.
    """
    chosen = choose_blocks(model, blocks, name="blocks")
    if not chosen:
        raise ValueError(f"`model`: '{model.name}' has no residual block that can be deleted.")
    if hasattr(x, "__next__"):
        raise ValueError(
            "`x` is a generator, which can be read only once, but every score needs all the data. "
            "Pass arrays, a tf.data.Dataset or a keras.utils.PyDataset."
        )
    counts = _counts(several, len(chosen))
    draws = check_integer("draws", draws, minimum=1)
    seed = check_integer("seed", seed, minimum=0)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    singles = [frozenset([place]) for place in range(len(chosen))]
    random = _random_sets(counts, len(chosen), draws, np.random.default_rng(seed))
    data = {"x": x, "y": y, "batch_size": batch_size, "sample_weight": sample_weight}
    scores = GatedScores(model, chosen, metric, data)
    with random_order_preserved(), preserved(model):
        scores.take([frozenset(), *singles, *(one for row in random for one in row)], verbose)
    return LesionStudy(
        metric=scores.name,
        blocks=[found.name for found in chosen],
        projected=np.array([found.is_projected for found in chosen]),
        whole=scores.known[frozenset()],
        single=np.array([scores.known[one] for one in singles]),
        counts=np.array(counts, "int64"),
        several=np.array([[scores.known[s] for s in row] for row in random]).reshape(-1, draws),
    )


def _counts(several, blocks):
    """The numbers of blocks to delete at once, in growing order."""
    if several is None:
        return np.unique(np.linspace(1, blocks, min(blocks, _COUNTS)).round().astype(int)).tolist()
    if not isinstance(several, (list, tuple, range, np.ndarray)):
        raise TypeError(
            f"`several` must be a list of numbers of blocks. Received: several={several!r}."
        )
    counts = {check_integer("several", count, minimum=1, maximum=blocks) for count in several}
    return sorted(counts)


def _random_sets(counts, blocks, draws, generator):
    """For each count a row of random sets of that many blocks."""
    return [
        [frozenset(generator.choice(blocks, count, replace=False).tolist()) for _ in range(draws)]
        for count in counts
    ]
