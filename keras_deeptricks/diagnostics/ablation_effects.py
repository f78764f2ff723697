"""What each trick of an ablation does to the score, and how sure that is."""

import dataclasses

import numpy as np

from keras_deeptricks.diagnostics.paired_differences import holm, paired_difference

REMOVED, ADDED = "removed", "added"


@dataclasses.dataclass(frozen=True, eq=False)
class Effect:
    """The effect of one trick: the score with it less the score without it, seed by seed.

    Attributes:
        trick: Its name.
        design: `"removed"` (from the full configuration) or `"added"` (to the plain baseline).
        values: The effect for each seed, an array; NaN where one of the two runs failed.
        mean, low, high: Their mean and the ends of its confidence interval, by Student's t.
        p_value: Two-sided p-value of "no effect".
        holm_p_value: That value adjusted, by Holm, for all effects of the ablation.
        verdict: `"helps"` or `"hurts"`; `"may help"` or `"may hurt"` where the interval excludes
            zero, but for so many comparisons that is no proof; `"no difference shown"`; or
            `"some runs failed"`, `"no interval"` (of a single seed).
        failed: How many seeds have no effect, for one of the two runs failed.
    """

    trick: str
    design: str
    values: np.ndarray
    mean: float
    low: float
    high: float
    p_value: float
    holm_p_value: float
    verdict: str
    failed: int


def effects_of(tricks, full, plain, removed, added, confidence, larger_is_better):
    """The effects of all tricks, those of removing first, as a list of `Effect`.

    Args:
        tricks: Names of the n tricks.
        full, plain: Scores of the two references, shape (seeds,); NaN where a run failed.
        removed, added: Scores without and with each trick, shape (n, seeds).
        confidence: Probability of the intervals.
        larger_is_better: Whether a larger score is better.
    """
    pairs = [
        (REMOVED, trick, full, without) for trick, without in zip(tricks, removed, strict=True)
    ]
    pairs += [(ADDED, trick, with_it, plain) for trick, with_it in zip(tricks, added, strict=True)]
    found = [paired_difference(first, second, confidence) for _, _, first, second in pairs]
    adjusted = holm([one.p_value for one in found])
    effects = []
    for (design, trick, first, second), one, holm_p in zip(pairs, found, adjusted, strict=True):
        values = np.asarray(first, "float64") - np.asarray(second, "float64")
        failed = int(np.isnan(values).sum())
        effects.append(
            Effect(
                trick=trick,
                design=design,
                values=values,
                mean=one.mean,
                low=one.low,
                high=one.high,
                p_value=one.p_value,
                holm_p_value=float(holm_p),
                verdict=_verdict(one, failed, holm_p <= 1 - confidence, larger_is_better),
                failed=failed,
            )
        )
    return effects


def _verdict(difference, failed, stands, larger_is_better):
    """In words; of the runs that happened to succeed nothing is concluded."""
    if failed:
        return "some runs failed"
    if np.isnan(difference.low):
        return "no interval"
    if difference.low <= 0 <= difference.high:
        return "no difference shown"
    word = "help" if (difference.mean > 0) == larger_is_better else "hurt"
    return f"{word}s" if stands else f"may {word}"
