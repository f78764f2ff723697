"""Detects dropout that is too strong, or stands where it harms."""

import keras

from keras_deeptricks.diagnostics.doctor import layer_kinds as kinds
from keras_deeptricks.diagnostics.doctor import paths, roles
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.doctor.output_tail import tails
from keras_deeptricks.utils.layer_walk import walk_layers

# Hinton et al. (2012) and Srivastava et al. (2014, section 7.3) found 0.5 for hidden units about
# best and the error rising sharply beyond 0.7 to 0.8.
_TOO_STRONG, _STRONG = 0.8, 0.7
# Half of the features of a table gone in every step; 0.2 is usual for inputs.
_OF_INPUTS = 0.5


def dropout_rate(case):
    """Single layers that drop too much."""
    for layer in walk_layers(case.model):
        for argument, rate in _rates(layer):
            if rate < _STRONG:
                continue
            too_strong = rate >= _TOO_STRONG
            yield Finding(
                "dropout_misuse",
                "warning" if too_strong else "note",
                layer.name,
                f"'{layer.name}' drops {rate:.0%} of its inputs ({argument}={rate:g}).",
                f"Only {1 - rate:.0%} of the units get through in a step, scaled up by "
                f"{1 / max(1e-9, 1 - rate):.3g}: mostly noise is trained on.",
                f"Use {argument}=0.1 to 0.5.",
            )


def dropout_chain(case):
    """Dropout upon dropout, which together drop too much."""
    for stage in case.structure.stages:
        if not kinds.is_dropout(stage.layer):
            continue
        if any(kinds.is_dropout(s.layer) for s in paths.ends_forward(stage, _only_passes)[0]):
            continue  # told of the last one
        chain = [stage]
        for source in paths.backwards(paths.source_of(stage)):
            if kinds.is_dropout(source.layer):
                chain.append(source)
            elif not _only_passes(source):
                break
        kept = 1.0
        for part in chain:
            kept *= 1 - part.layer.rate
        weak = all(part.layer.rate < _TOO_STRONG for part in chain)
        if len(chain) > 1 and kept <= 1 - _TOO_STRONG + 1e-9 and weak:
            names = case.layer_names([part.layer for part in reversed(chain)])
            yield Finding(
                "dropout_misuse",
                "warning",
                stage.name,
                f"{names} follow on each other and together let {kept:.0%} through.",
                "Dropout of what dropout let through multiplies what is lost.",
                "Keep one of these layers.",
            )


def dropout_of_output(case):
    """Dropout between the last layer with weights and the output."""
    for tail in tails(case):
        for place, stage in enumerate(tail.stages):
            if not kinds.is_dropout(stage.layer):
                continue
            yield Finding(
                "dropout_misuse",
                "note" if _is_hidden(tail, place) else "warning",
                stage.name,
                f"'{stage.name}' (rate={stage.layer.rate:g}) stands behind '{tail.kernel.name}', "
                "the last layer with weights: it drops parts of the output itself.",
                "In training some predictions are set to 0, whatever the network found, and the "
                "others are scaled up: the loss cannot get low, and differs from that of "
                "inference.",
                f"Put '{stage.name}' before '{tail.kernel.name}', or leave it out.",
            )
            break


def dropout_of_inputs(case):
    """Strong dropout of the features of a table."""
    for stage in case.structure.stages:
        if not kinds.is_dropout(stage.layer) or stage.layer.rate < _OF_INPUTS:
            continue
        first = list(paths.backwards(stage))
        is_first = all(roles.passes_values(s.layer) for s in first) and first[-1].sources == [None]
        if is_first and case.structure.is_graph and len(first[-1].input_shapes[0]) == 2:
            yield Finding(
                "dropout_misuse",
                "note",
                stage.name,
                f"'{stage.name}' drops {stage.layer.rate:.0%} of the input features.",
                "Features of a table seldom stand in for each other as pixels do.",
                "Use a rate of 0.1 to 0.2 for inputs.",
            )


def dropout_before_batch_norm(case):
    """Dropout directly before batch normalization."""
    for stage in case.structure.of(keras.layers.BatchNormalization):
        source = paths.source_of(stage)
        while source is not None and _only_passes(source):
            source = paths.source_of(source)
        if source is not None and kinds.is_dropout(source.layer):
            yield Finding(
                "dropout_misuse",
                "note",
                source.name,
                f"'{source.name}' (rate={source.layer.rate:g}) stands directly before "
                f"'{stage.name}'.",
                "Dropout raises the variance that the moving statistics learn, but not the "
                "variance in inference (Li et al., 2019).",
                f"Put '{source.name}' behind the last batch normalization.",
            )


def _rates(layer):
    if isinstance(layer, kinds.DROPOUT):
        yield "rate", float(layer.rate or 0)
    elif isinstance(layer, keras.layers.RNN):
        for argument in ("dropout", "recurrent_dropout"):
            yield argument, _number(getattr(layer, argument, 0))
    elif isinstance(layer, keras.layers.MultiHeadAttention):
        yield "dropout", _number(layer.get_config().get("dropout", 0))


def _number(value):
    return float(value) if isinstance(value, (int, float)) else 0.0


def _only_passes(stage):
    """Rearranges values without dropping any."""
    layer = stage.layer
    return (
        roles.passes_values(layer) and not kinds.is_dropout(layer) and not kinds.is_pooling(layer)
    )


def _is_hidden(tail, place):
    """Whether the layer before may be meant as a hidden one: pooled later, or without a loss."""
    loss = tail.output.loss
    pooled = any(kinds.is_pooling(stage.layer) for stage in tail.stages[place:])
    return pooled or loss is None or loss.name == "custom"
