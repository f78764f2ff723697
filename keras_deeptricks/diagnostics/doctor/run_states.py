"""Detects what short runs do to the units: dead ones, equal ones, constant predictions."""

import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.initialization_constant import constant_finding
from keras_deeptricks.diagnostics.doctor.rate_comparison import can_train

# Predictions that differ by less than this part of the targets' deviation (of probabilities: by
# less than this) are the same.
_SAME = 2e-3
# Shares of dead units: what is told, and what a lower rate would have left alive.
_MOSTLY_DEAD, _SPARED, _UNITS = 0.9, 0.5, 8


def run_states(case):
    """Finds dead layers, units that stay alike, and constant predictions after the runs."""
    if not can_train(case):
        return
    trials = case.trials
    own, best = trials.own.after, trials.runs[trials.best].after
    if best is None:
        return
    still_zero = [layer for layer in case.zero_layers if layer.name in best.alike]
    if still_zero:
        yield constant_finding(case, still_zero, ", and still were after a short training")
    yield from _dead(case, trials, own)
    yield from _constant(case, trials, own, best)


def _dead(case, trials, own):
    if own is None or case.has("dead_units"):
        return
    calls = {call.name: call for call in case.calls}
    calmer = trials.runs.get(-1)
    for name, share in own.dead.items():
        call = calls.get(name)
        if share <= _MOSTLY_DEAD or call is None or call.outputs.shape[-1] < _UNITS:
            continue
        at = "" if trials.rate is None else f" at the rate {trials.rate:.3g}"
        steps = len(trials.own.losses)
        yield Finding(
            "dead_units",
            "warning",
            name,
            f"After {steps} steps{at}, {share:.0%} of its units are zero for every row.",
            "Steps that are too long push units where they are always zero; they get no gradient "
            "any more.",
            "Lower the rate, standardize the inputs, or use ELU or LeakyReLU.",
        )
        if calmer is not None and calmer.after is not None:
            spared = calmer.after.dead.get(name, 1.0)
            if spared < _SPARED and not case.has("learning_rate_too_high"):
                yield Finding(
                    "learning_rate_too_high",
                    "warning",
                    "learning_rate",
                    f"{steps} steps{at} leave {share:.0%} of the units of '{name}' dead, as many "
                    f"at {calmer.rate:.3g} {spared:.0%}.",
                    "The first long steps throw the units away for good.",
                    f"Begin with a rate of about {calmer.rate:.3g}, or standardize inputs and "
                    "targets.",
                )
        return


def _constant(case, trials, own, best):
    """Predictions that are the same for all rows, at the start and after training."""
    inputs = [leaf.reshape(len(leaf), -1) for leaf in case.probe.inputs]
    if case.probe.rows < 2 or all((leaf == leaf[:1]).all() for leaf in inputs):
        return
    for output in case.outputs:
        if _targets_alike(output):
            continue
        at_start = float(np.max(np.std(output.prediction, axis=0)))
        limit = _limit(output)
        after = best.spread.get(output.name, np.inf)
        own_after = np.inf if own is None else own.spread.get(output.name, np.inf)
        if not np.isfinite(at_start):
            continue
        if at_start <= limit and after <= limit:
            yield Finding(
                "constant_output",
                "error",
                output.layer,
                f"The predictions differ by {at_start:.2g} from row to row at the start, and by "
                f"{after:.2g} after {len(trials.runs[trials.best].losses)} steps.",
                "What the model predicts does not depend on its inputs: the signal is lost on its "
                "way, or the output cannot vary.",
                "Look at the other findings; without any, at the initialization, at saturated or "
                "dead layers, and at the activation of the output.",
            )
        elif own_after <= limit:
            lower = after > limit and trials.best < 0
            yield Finding(
                "constant_output",
                "warning",
                output.layer,
                f"After {len(trials.own.losses)} steps at the given rate all predictions are "
                f"the same (they differ by {own_after:.2g}).",
                "The training threw the network to a place where its inputs do not matter.",
                f"Lower the learning rate, to about {trials.runs[trials.best].rate:.3g}."
                if lower
                else "Lower the learning rate, and standardize inputs and targets.",
            )


def _limit(output):
    probable = output.loss is not None and "crossentropy" in output.loss.name
    if probable and not output.loss.from_logits:
        return _SAME
    deviation = 1.0 if output.kind is None else output.kind.deviation
    if not np.isfinite(deviation) or deviation == 0:
        deviation = 1.0
    return _SAME * min(1.0, deviation)


def _targets_alike(output):
    return output.kind is not None and output.kind.deviation == 0
