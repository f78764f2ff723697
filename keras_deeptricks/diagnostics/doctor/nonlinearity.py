"""Detects layers that follow on each other without a nonlinearity between them."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor import affinity
from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor.affine_chains import links
from keras_deeptricks.diagnostics.doctor.finding import Finding

_REMEDY = (
    "Give {name} an activation, such as activation='relu' with kernel_initializer='he_normal'."
)


def missing_nonlinearity(case):
    """Layers that one layer could stand for, and models that are affine as a whole."""
    told = []
    for place, output in enumerate(case.outputs):
        finding, kernels = _whole_model(case, place, output)
        if finding is not None and not told:
            yield finding
        if finding is not None:
            told += [id(stage.layer) for stage in kernels]
    for chain in _chains(links(case.structure)):
        if any(id(link.first.layer) in told for link in chain):
            continue
        if any(_is_trainable(link) for link in chain):
            yield _chain_finding(chain)


def _whole_model(case, place, output):
    """(a finding or None, the stages with kernels)."""
    verdict, kernels = affinity.affine_output(case.structure, output)
    unique = list({id(stage.layer): stage for stage in kernels}.values())
    if verdict is False or not _follow_on_each_other(unique, case.structure.is_graph):
        return None, []
    deviation = None
    if not _holds_zero_kernel(unique):
        deviation = affinity.deviation_from_affine(case, place)
    if verdict is None and deviation is None:
        return None, []
    # Half precision rounds more coarsely; where all layers are known that does not matter.
    most = affinity.HALF_ROUNDING if verdict else affinity.ROUNDING
    if deviation is not None and deviation > most:
        return None, []
    first = unique[0]
    evidence = (
        f"{len(unique)} layers with weights ({case.layer_names([s.layer for s in unique])}) have "
        "no nonlinearity between the input and the output's own activation"
    )
    if deviation is not None:
        evidence += (
            ". Measured: before that activation, the output for the mean of two rows differs from "
            f"the mean of their outputs by {deviation:.1g} of their difference"
        )
    finding = Finding(
        "missing_nonlinearity",
        "note" if _is_meant_linear(output, first, case) else "warning",
        first.name,
        evidence + ".",
        "Affine functions of affine functions are affine: all these layers together can learn no "
        "more than a linear model.",
        _REMEDY.format(name=f"'{first.name}' and the other hidden layers"),
    )
    return finding, unique


def _follow_on_each_other(kernels, is_graph):
    """Whether two of the stages lie on one path."""
    if len(kernels) < 2:
        return False
    if not is_graph:
        return True
    wanted = {id(stage) for stage in kernels}
    waiting, seen = [s for stage in kernels for s in stage.sources], set()
    while waiting:
        stage = waiting.pop()
        if stage is None or id(stage) in seen:
            continue
        if id(stage) in wanted:
            return True
        seen.add(id(stage))
        waiting += stage.sources
    return False


def _holds_zero_kernel(stages):
    """Branches that start at zero make any net look affine."""
    return any(
        not np.any(keras.ops.convert_to_numpy(kernel))
        for stage in stages
        for kernel in kinds.kernels_of(stage.layer)
    )


def _is_meant_linear(output, first, case):
    """Linear autoencoders, and codes of words: a narrow first layer without a bias."""
    if output.target is not None:
        for leaf in case.probe.inputs:
            same = leaf.shape == output.target.shape
            if same and np.allclose(leaf, output.target, rtol=1e-3, atol=1e-3):
                return True
    layer = kinds.inner_layer(first.layer)
    widths = first.input_shapes[0][-1], first.output_shapes[0][-1]
    return (
        isinstance(layer, keras.layers.Dense)
        and not layer.use_bias
        and None not in widths
        and widths[1] < min(widths[0], output.units)
    )


def _chains(found):
    """Links that hang together, as lists."""
    by_first = {id(link.first): link for link in found}
    seconds = {id(link.second) for link in found}
    for link in found:
        if id(link.first) in seconds:
            continue
        chain = [link]
        while id(chain[-1].second) in by_first:
            chain.append(by_first[id(chain[-1].second)])
        yield chain


def _is_trainable(link):
    return bool(link.first.layer.trainable_variables or link.second.layer.trainable_variables)


def _chain_finding(chain):
    worst = next((link for link in chain if link.meant is None), chain[0])
    names = [f"'{link.first.name}'" for link in chain] + [f"'{chain[-1].second.name}'"]
    between = list(dict.fromkeys(type(s.layer).__name__ for link in chain for s in link.between))
    evidence = f"{' → '.join(names)}: no activation between them"
    if between:
        evidence += f", only {', '.join(between)}"
    explanation = (
        f"{worst.width_in} → {worst.width} → {worst.width_out} without a nonlinearity computes "
        "nothing that one layer could not."
    )
    if worst.meant is not None:
        explanation += f" It may be meant: {worst.meant}."
    return Finding(
        "missing_nonlinearity",
        "note" if worst.meant is not None else "warning",
        worst.first.name,
        evidence + ".",
        explanation,
        _REMEDY.format(name=f"'{worst.first.name}'"),
    )
