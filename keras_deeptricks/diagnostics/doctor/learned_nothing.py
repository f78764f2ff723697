"""Detects targets that nothing can be learned of, and models that do not learn what is there."""

from keras_deeptricks.diagnostics.doctor.case import LONG_RUN_STEPS
from keras_deeptricks.diagnostics.doctor.codes import CODES
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.rate_comparison import can_train
from keras_deeptricks.diagnostics.doctor.relatedness import relatedness

# Of fewer rows chance tells nothing.
_FEWEST_ROWS = 120
# Simple methods that tell the targets no better than this chance would have it learned nothing.
_P_VALUE = 0.01
# Skill on rows not trained on, and standard errors above chance, that show learning.
_SKILL, _ERRORS = 0.03, 2.5
# A model with less than this skill on its own training rows does not fit, where a simple method
# has that much on others.
_UNDERFIT, _SIMPLE = 0.1, 0.4


def learned_nothing(case):
    """Finds targets that neither the model nor simple methods tell, and models that fit nothing."""
    if not can_train(case) or case.finite.rows < _FEWEST_ROWS or case.has("nan", severity="error"):
        return
    best = case.trials.runs[case.trials.best].after
    if best is None:
        return
    for output in case.outputs:
        target = case.target_of(output, case.finite)
        if output.kind is None or output.kind.deviation == 0 or output.name not in best.fitted:
            continue
        simple = relatedness(case.finite.inputs, target, case.rng)
        if simple is None:
            continue
        learned = _learned(best.held_out.get(output.name))
        if simple.best_p > _P_VALUE and not learned:
            yield from _unrelated(case, output, simple)
        elif _is_underfitting(case, best.fitted[output.name], simple):
            yield from _underfitting(case, output, simple)


def _unrelated(case, output, simple):
    run = case.long_run
    if run.after is None:
        return
    held_out = run.after.held_out.get(output.name)
    fitted = run.after.fitted.get(output.name)
    if held_out is None or _learned(held_out):
        return
    said = (
        f"accuracy {held_out.accuracy:.2f} on rows not trained on, {held_out.chance:.2f} by chance"
        if held_out.accuracy is not None
        else f"R² {held_out.skill:.2f} on rows not trained on"
    )
    yield Finding(
        "labels_unrelated",
        "warning",
        output.name,
        f"After {len(run.losses)} steps: {said}, and skill {fitted.skill:.2f} on its own rows. "
        f"Nearest neighbours and a linear model tell the targets no better than chance either "
        f"(p = {simple.best_p:.2f}).",
        "Rows of inputs and targets may have come out of step (shuffled apart, joined wrongly), "
        "or the inputs do not contain what is asked.",
        "Look at some rows with their targets; shuffle x and y with the same permutation.",
    )


def _underfitting(case, output, simple):
    run = case.long_run
    if run.after is None or len(run.losses) < LONG_RUN_STEPS // 2:
        return
    fitted = run.after.fitted.get(output.name)
    if fitted is None or fitted.skill >= _UNDERFIT:
        return
    yield Finding(
        "underfitting",
        "warning",
        output.layer,
        f"After {len(run.losses)} steps at the rate {run.rate:.3g} the model explains "
        f"{max(0.0, fitted.skill):.0%} of its own training rows; simple methods explain "
        f"{_share_explained(simple):.0%} of rows they have not seen.",
        "The inputs tell the targets, but what this network makes of them does not.",
        "Look at the other findings; without any, take a larger or better suited network, less "
        "regularization, or another rate.",
    )


def _is_underfitting(case, fitted, simple):
    # Where something is known to be wrong, that it does not fit is no news.
    if case.trials.rate is None or fitted.skill >= _UNDERFIT or case.has(*CODES, severity="error"):
        return False
    return _share_explained(simple) > _SIMPLE


def _share_explained(simple):
    """How far simple methods get from chance to perfection."""
    best = max(simple.knn_score, simple.linear_score, simple.nonlinear_score)
    return (best - simple.chance) / max(1e-9, 1 - simple.chance)


def _learned(score):
    if score is None:
        return False
    if score.accuracy is not None:
        return score.z > _ERRORS
    return score.skill > _SKILL
