"""What a training recipe returns: the model, how it got there, and how to use and keep it."""

import dataclasses
import json
import pathlib

import keras
import numpy as np

from keras_deeptricks.assembly.targets import Targets
from keras_deeptricks.diagnostics.learning_rate_search import LearningRateSearch
from keras_deeptricks.utils.results import from_json, to_json

_MODEL, _RECORD, _SEARCH = "model.keras", "run.json", "learning_rate_search.json"


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRun:
    """A finished training run.

    Attributes:
        model: The trained, compiled `keras.Model`, with the weights of its best epoch.
        history: Dictionary of the values of each epoch, as `fit` returns them, with
            `"learning_rate_per_step"` and `"momentum_per_step"`.
        learning_rate_search: The `LearningRateSearch` that gave the rate, or None if it was given.
        settings: Dictionary of what was chosen: each name with its value.
        reasons: Dictionary of why, for the settings that were not given.
        targets: The task and the vocabulary of its classes.

    Example:

    ```python
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(300, 4))
    y = np.where(x.sum(axis=1) > 0, "yes", "no")
    run = kdt.recipes.train_default(x, y, epochs=2, hidden_units=(16,), verbose=0)
    assert set(run.predict_labels(x[:10])) <= {"yes", "no"}
    print(run.summary())
    ```
    """

    model: keras.Model
    history: dict
    learning_rate_search: LearningRateSearch | None
    settings: dict
    reasons: dict
    targets: Targets

    def predict_labels(self, x, batch_size=1024):
        """The predicted labels in the words of the training targets.

        Classes come as in `y` (of one-hot targets the index), multi-label predictions as 0 and
        1 at a threshold of 0.5, those of a regression as numbers.
        """
        return self.targets.decode(self.model.predict(x, batch_size=batch_size, verbose=0))

    def evaluate(self, x, y, batch_size=1024):
        """The loss and the metrics on other data, as a dictionary; `y` as in training."""
        return self.model.evaluate(
            x, self.targets.encode(y), batch_size=batch_size, verbose=0, return_dict=True
        )

    def summary(self):
        """What was chosen and why, and how training went, as text."""
        width = max(map(len, self.settings))
        lines = [f"{self.settings['recipe']}: {self._outcome()}", ""]
        for name, value in self.settings.items():
            if name == "recipe":
                continue
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            reason = self.reasons.get(name)
            lines.append(f"  {name:<{width}}  {shown}" + (f"   ({reason})" if reason else ""))
        return "\n".join(lines)

    def _outcome(self):
        best = self.settings["best_epoch"]
        entries = []
        for name, values in self.history.items():
            if name.endswith("_per_step") or name in ("learning_rate", "momentum"):
                continue
            entries.append(f"{name} {values[best - 1]:.4f}")
        return f"epoch {best} of {self.settings['epochs_run']} is kept: " + ", ".join(entries)

    def plot(self, path=None):
        """Draws the losses and metrics, rate and momentum, and the rate finder's curve.

        Args:
            path: File to write, such as `"run.png"`, or None to write none.

        Returns:
            The Matplotlib `Figure`.
        """
        from keras_deeptricks.visualization import plot_training_run

        figure = plot_training_run(self)
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure

    def save(self, folder):
        """Writes the model (`model.keras`), history and settings (JSON) into `folder`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / _MODEL)
        if self.learning_rate_search is not None:
            self.learning_rate_search.save(folder / _SEARCH)
        else:
            (folder / _SEARCH).unlink(missing_ok=True)
        record = {
            "history": self.history,
            "settings": self.settings,
            "reasons": self.reasons,
            "targets": {
                "task": self.targets.task,
                "outputs": self.targets.outputs,
                "labels": self.targets.labels,
                "one_hot": self.targets.one_hot,
            },
        }
        text = json.dumps(to_json(record), indent=1)
        (folder / _RECORD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote; runs no code from the files.

        Raises:
            FileNotFoundError: `folder` holds no saved run.
        """
        folder = pathlib.Path(folder)
        if not (folder / _RECORD).exists():
            raise FileNotFoundError(f"'{folder}' holds no saved run: {_RECORD} is missing.")
        record = from_json(json.loads((folder / _RECORD).read_text(encoding="utf-8")))
        search = None
        if (folder / _SEARCH).exists():
            search = LearningRateSearch.load(folder / _SEARCH)
        return cls(
            model=keras.saving.load_model(folder / _MODEL),
            history=record["history"],
            learning_rate_search=search,
            settings=record["settings"],
            reasons=record["reasons"],
            targets=Targets(**record["targets"]),
        )


def plain_history(history):
    """A history with plain Python numbers."""
    return {
        name: [np.asarray(value).tolist() for value in values] for name, values in history.items()
    }
