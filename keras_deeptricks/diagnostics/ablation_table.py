"""An ablation as text."""

import numpy as np

from keras_deeptricks.diagnostics.ablation_effects import ADDED, REMOVED

_MEASURED_ON = {
    "kept": "of the model that training leaves",
    "best": "of the best epoch",
    "last": "of the last epoch",
}
_HEADINGS = {
    REMOVED: ("Each trick removed from the full configuration", "without it"),
    ADDED: ("Each trick added to the plain baseline", "with it"),
}


def table(ablation):
    """Scores and effects of an `Ablation`, with what has to be known to read them."""
    seeds = len(ablation.seeds)
    better = "larger" if ablation.larger_is_better else "smaller"
    lines = [
        f"{ablation.monitor} {_MEASURED_ON[ablation.epoch]}, {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}; {better} is better",
        "",
        f"full configuration  {_mean_and_deviation(ablation.full)}",
        f"plain baseline      {_mean_and_deviation(ablation.plain)}",
    ]
    effects = ablation.effects
    for design, scores in ((REMOVED, ablation.removed), (ADDED, ablation.added)):
        title, score_name = _HEADINGS[design]
        rows = [
            _row(one, score) for one, score in zip(effects[design].values(), scores, strict=True)
        ]
        percent = f"{100 * ablation.confidence:g} % interval"
        header = ("trick", score_name, "effect", percent, "p", "Holm", "verdict")
        lines += ["", title, *_aligned([header, *rows])]
    lines += ["", *_notes(ablation)]
    if ablation.failures:
        lines += ["", "Failed runs", *map(_failure, ablation.failures)]
    return "\n".join(lines)


def summary(ablation):
    """In a few sentences which tricks help."""
    lines = []
    for design, place in (
        (REMOVED, "In the full configuration"),
        (ADDED, "Alone, on the baseline"),
    ):
        by_verdict = {}
        for effect in ablation.effects[design].values():
            by_verdict.setdefault(effect.verdict, []).append(effect.trick)
        order = sorted(by_verdict, key=_VERDICTS.index)
        found = "; ".join(f"{verdict}: {', '.join(by_verdict[verdict])}" for verdict in order)
        lines.append(f"{place} — {found}.")
    return "\n".join(lines)


_VERDICTS = (
    "helps",
    "may help",
    "no difference shown",
    "may hurt",
    "hurts",
    "some runs failed",
    "no interval",
)


def _row(effect, scores):
    seeds = len(effect.values)
    verdict = effect.verdict
    if effect.failed:
        verdict = f"{effect.failed} of {seeds} pairs failed"
    same = len(effect.values) > 1 and effect.low == effect.high and effect.mean != 0
    return (
        effect.trick,
        _number(_mean(scores)),
        _number(effect.mean, sign=True),
        "" if np.isnan(effect.low) else f"{effect.low:+.4f} … {effect.high:+.4f}",
        _probability(effect.p_value),
        _probability(effect.holm_p_value),
        f"{verdict} †" if same else verdict,
    )


def _notes(ablation):
    effects = [one for group in ablation.effects.values() for one in group.values()]
    notes = [
        "The effect is the score with the trick less the score without it, paired by seed.",
        f'Of {len(effects)} comparisons some look clear by chance: "Holm" is the p-value '
        'adjusted for all of them; "may" is said where only the single interval excludes zero.',
        '"No difference shown" is no proof of none: more seeds give narrower intervals.',
    ]
    if len(ablation.seeds) == 1:
        notes.append("A single seed tells nothing of chance: there are no intervals.")
    if any(one.low == one.high and one.mean != 0 for one in effects):
        notes.append("† The same in every seed: an interval without width, to be trusted less.")
    if ablation.epoch == "best":
        notes.append("The best of many epochs is a little flattering, most where scores vary most.")
    return notes


def _failure(failure):
    return f"{failure['configuration']}, seed {failure['seed']}: {failure['reason']}"


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _mean_and_deviation(scores):
    done = scores[np.isfinite(scores)]
    text = _number(_mean(scores))
    if len(done) > 1:
        text += f" ± {done.std(ddof=1):.4f} (standard deviation over seeds)"
    if len(done) < len(scores):
        text += f", {len(scores) - len(done)} of {len(scores)} runs failed"
    return text


def _mean(scores):
    done = scores[np.isfinite(scores)]
    return done.mean() if len(done) else np.nan


def _number(value, sign=False):
    if np.isnan(value):
        return "–"
    return f"{value:+.4f}" if sign else f"{value:.4f}"


def _probability(value):
    if np.isnan(value):
        return ""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"
