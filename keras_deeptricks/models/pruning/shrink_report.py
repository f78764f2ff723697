"""What shrinking did to a model."""

import dataclasses

from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class ShrinkReport(Result):
    """Which units of a model were removed, what that saves, and what was left alone.

    `print` shows a table. Layers have the names that they have in the smaller model.

    Attributes:
        model: Name of the model.
        layers: A dictionary for each layer with weights: `layer`; `units`, `parameters` and
            `flops`, each a list of the number before and after. `units` is the size of the layer's
            output along its units, None where there are none. `flops` are the floating-point
            operations on one row, two for each multiply-add of products with matrices (`Dense`,
            convolutions, recurrent layers), nothing else; None where they are not known or depend
            on the size of the input.
        removed: A dictionary for each layer that lost units: `layer`; `constant`, the numbers of
            those that had the same output for every input; `unused`, of those that no output
            depended on.
        kept: A dictionary for what was left alone: `layer`; `units`, the numbers of those that are
            constant and still there, none for a layer that was not looked into; `reason`.
    """

    model: str
    layers: list
    removed: list
    kept: list

    plot_function = "plot_shrink"

    @property
    def parameters(self):
        """The number of parameters before and after."""
        return self._total("parameters")

    @property
    def flops(self):
        """The floating-point operations on one row before and after, None where unknown."""
        return self._total("flops")

    @property
    def removed_units(self):
        """The number of units that are gone."""
        return sum(len(entry["constant"]) + len(entry["unused"]) for entry in self.removed)

    def __str__(self):
        lines = [f"{_units(self.removed_units)} of '{self.model}' removed"]
        rows = [("layer", "units", "parameters", "FLOPs")]
        rows += [
            (
                entry["layer"],
                "" if entry["units"] == [None, None] else _change(entry["units"]),
                *(_change(entry[name]) for name in ("parameters", "flops")),
            )
            for entry in self.layers
        ]
        rows.append(("total", "", _change(self.parameters), _change(self.flops)))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            numbers = zip(row[1:], widths[1:], strict=True)
            cells = [f"{row[0]:{widths[0]}}", *(f"{text:>{width}}" for text, width in numbers)]
            lines.append("  ".join(cells).rstrip())
        for entry in self.kept:
            count = len(entry["units"])
            what = f"dead, but kept ({_units(count)})" if count else "kept"
            lines.append(f"{entry['layer']}: {what}: {entry['reason']}")
        return "\n".join(lines)

    def _total(self, name):
        columns = [[entry[name][place] for entry in self.layers] for place in (0, 1)]
        return [None if None in column else sum(column) for column in columns]


def _units(count):
    return f"{count:,} {'unit' if count == 1 else 'units'}"


def _change(numbers):
    before, after = ("?" if number is None else f"{number:,}" for number in numbers)
    return before if before == after else f"{before} → {after}"
