"""What the rounds of iterative pruning have come to."""

import dataclasses

import numpy as np

from keras_deeptricks.utils.results import Result

_COLUMNS = (("weights not zero", "nonzero"), ("FLOPs not zero", "nonzero_flops"))


@dataclasses.dataclass(frozen=True, eq=False)
class PruningRounds(Result):
    """The rounds of `iterative_pruning`. `print` shows a table.

    Attributes:
        model: Name of the model.
        rounds: A dictionary for each round: `round`, its number, 0 before anything is pruned;
            `fraction`, the share that was to be pruned; `sparsity`, the share of the weights of all
            kernels that are zero; `parameters`, the number of these weights, and `nonzero` of them;
            `flops` on one row, as in `SparsityReport`, and `nonzero_flops`, None where they are not
            known; `before` and `after`, dictionaries of the figures before and after (re)training,
            None where there are none; `history`, that of the training, a dictionary, or None.
        shrunk: `parameters` and `flops` of the whole model before and after `shrink`, each a list
            of two, of None where they are not known; None where it was not asked for.
    """

    model: str
    rounds: list
    shrunk: dict | None = None

    plot_function = "plot_pruning_rounds"

    @property
    def names(self):
        """The names of all figures, in order."""
        parts = [entry[when] or {} for entry in self.rounds for when in ("before", "after")]
        return list(dict.fromkeys(name for part in parts for name in part))

    @property
    def sparsities(self):
        """The sparsity of each round, an array."""
        return np.array([entry["sparsity"] for entry in self.rounds])

    def figures(self, name, when="after"):
        """A figure of each round, an array, NaN where there is none.

        Args:
            name: Its name, such as `"accuracy"`.
            when: `"after"` or `"before"` the (re)training. Defaults to `"after"`.
        """
        found = [(entry[when] or {}).get(name, np.nan) for entry in self.rounds]
        return np.array(found, "float64")

    def __str__(self):
        figures = [
            (f"{name} {when}", name, when) for name in self.names for when in ("before", "after")
        ]
        rows = [("round", "sparsity", *(label for label, _ in _COLUMNS), *(f[0] for f in figures))]
        for entry in self.rounds:
            counts = (_number(entry[key]) for _, key in _COLUMNS)
            cells = (_figure(entry[when], name) for _, name, when in figures)
            rows.append((str(entry["round"]), f"{entry['sparsity']:.1%}", *counts, *cells))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [f"'{self.model}', pruned in {len(self.rounds) - 1} rounds"]
        for row in rows:
            lines.append("  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)))
        for name, (before, after) in (self.shrunk or {}).items():
            lines.append(f"{name} of the smaller model: {_number(before)} → {_number(after)}")
        return "\n".join(lines)


def round_entry(number, fraction, report, before=None, after=None, history=None):
    """What `PruningRounds` has of a round.

    Args:
        number: That of the round.
        fraction: The share that was to be pruned.
        report: The `SparsityReport` of the model at its end.
        before, after: What `evaluate` returned, or None.
        history: What `fit` returned, or None.
    """
    return {
        "round": number,
        "fraction": float(fraction),
        "sparsity": report.sparsity,
        "parameters": sum(kernel["parameters"] for kernel in report.kernels),
        "nonzero": sum(kernel["nonzero"] for kernel in report.kernels),
        "flops": report.after["flops"],
        "nonzero_flops": report.after["nonzero_flops"],
        "before": before,
        "after": after,
        "history": None if history is None else dict(history.history),
    }


def _number(count):
    return "?" if count is None else f"{count:,}"


def _figure(figures, name):
    return f"{figures[name]:.4g}" if figures and name in figures else ""
