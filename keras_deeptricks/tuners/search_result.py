"""What a search returns: its trials, the best settings, the models, and the test figure."""

import dataclasses
import json
import pathlib

import keras

from keras_deeptricks.assembly.targets import Targets
from keras_deeptricks.utils.results import from_json, to_json

_RECORD, _BEST, _REFITTED = "search.json", "best_model.keras", "model.keras"
_SHOWN = 10


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """A finished search.

    Attributes:
        trials: List of a dictionary for each trial, in the order of their start: `"trial"` (its
            id), `"status"`, `"score"` (None without one), `"round"` (of coarse-to-fine, else
            None), `"settings"`, `"metrics"` (those of its best epoch) and `"message"` (why it
            stopped, or failed).
        objective: The figure searched by.
        direction: `"max"` or `"min"`.
        best_settings: Dictionary of the values of the best trial.
        best_model: Its model, with the weights of its best epoch.
        model: The model trained anew with the best settings on training and validation rows
            together; None without a refit, or where that has diverged.
        test: Figures of `model` (without a refit of `best_model`) on the test rows, or None. They
            had no part in the search and are looked at once, here.
        search: Dictionary of how it was searched: `"tuner"`, `"hypermodel"`, `"trials"`,
            `"executions_per_trial"`, `"seconds"` (of the call that ended it), `"seed"`,
            `"backend"`, `"refit"`, `"project"`, and `"test_data"`, by which the same test rows are
            known again.
        targets: The task and the vocabulary of its classes; None with a hypermodel of one's own.

    The best score is the best of many on the same validation rows, and so flattering: report
    `test`.
    """

    trials: list
    objective: str
    direction: str
    best_settings: dict
    best_model: keras.Model
    model: keras.Model | None
    test: dict | None
    search: dict
    targets: Targets | None

    def ranked(self):
        """The trials that have a score, the best first."""
        scored = [trial for trial in self.trials if trial["score"] is not None]
        # Those of equal score in the order of their start.
        return sorted(scored, key=lambda t: t["score"], reverse=self.direction == "max")

    def best_scores(self):
        """The best score so far, after each trial with one: a list of numbers."""
        best, scores = None, []
        better = max if self.direction == "max" else min
        for trial in self.trials:
            if trial["score"] is not None:
                best = trial["score"] if best is None else better(best, trial["score"])
                scores.append(best)
        return scores

    def to_dataframe(self):
        """The trials as a `pandas.DataFrame`, a column for each setting; needs pandas."""
        import pandas

        fixed = ("trial", "status", "score", "round", "message")
        return pandas.DataFrame(
            [{**{name: t[name] for name in fixed}, **t["settings"]} for t in self.trials]
        )

    def summary(self):
        """The best settings, the best trials and the test figures, as text."""
        ranked = self.ranked()
        failed = len(self.trials) - len(ranked)
        lines = [
            f"{self.search['tuner']}: {len(self.trials)} trials"
            + (f", {failed} of them without a score" if failed else "")
            + f", {self.search['seconds']:.0f} s",
            "",
            f"best {self.objective} {ranked[0]['score']:.4g} (trial {ranked[0]['trial']}), with",
        ]
        width = max(map(len, self.best_settings), default=0)
        for name, value in self.best_settings.items():
            lines.append(f"  {name:<{width}}  {_shown(value)}")
        lines += ["", *self._table(ranked[:_SHOWN])]
        if self.test is not None:
            which = "the best model" if self.model is None else "the model trained anew"
            figures = ", ".join(f"{name} {_shown(value)}" for name, value in self.test.items())
            lines += ["", f"{which}, on the test rows: {figures}"]
        return "\n".join(lines)

    def plot(self, path=None):
        """Draws the trials: parallel coordinates, and each setting against the objective.

        Args:
            path: File to write, such as `"search.png"`, or None to write none.

        Returns:
            The Matplotlib `Figure`.
        """
        from keras_deeptricks.visualization import plot_search

        figure = plot_search(self)
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure

    def save(self, folder):
        """Writes the models (`.keras`) and everything else (`search.json`) into `folder`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.best_model.save(folder / _BEST)
        if self.model is not None:
            self.model.save(folder / _REFITTED)
        else:
            (folder / _REFITTED).unlink(missing_ok=True)
        names = ("trials", "objective", "direction", "best_settings", "test", "search", "targets")
        record = {name: to_json(getattr(self, name)) for name in names}
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote; runs no code from the files.

        Raises:
            FileNotFoundError: `folder` holds no saved search.
        """
        folder = pathlib.Path(folder)
        if not (folder / _RECORD).exists():
            raise FileNotFoundError(f"'{folder}' holds no saved search: {_RECORD} is missing.")
        record = from_json(json.loads((folder / _RECORD).read_text(encoding="utf-8")))
        targets = record.pop("targets")
        refitted = folder / _REFITTED
        return cls(
            **record,
            targets=None if targets is None else Targets(**targets),
            best_model=keras.saving.load_model(folder / _BEST),
            model=keras.saving.load_model(refitted) if refitted.exists() else None,
        )

    def _table(self, trials):
        rows = [["trial", self.objective, "round", "why it stopped"]]
        for trial in trials:
            reason = (trial["message"] or "").split("\n")[0]
            number = "" if trial["round"] is None else str(trial["round"])
            rows.append([trial["trial"], f"{trial['score']:.4g}", number, reason])
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return [
            "  ".join([*(row[i].rjust(widths[i]) for i in range(3)), row[3]]).rstrip()
            for row in rows
        ]


def _shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
