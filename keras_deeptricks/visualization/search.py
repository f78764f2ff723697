"""The pictures of a search."""

import math

import numpy as np

from keras_deeptricks.visualization.axes import new_figure

_COLUMNS = 4
_COLOURS = "viridis"


def plot_search(result):
    """Draws the trials of a search.

    Above, parallel coordinates: a line for each trial through its settings, the better the
    brighter, and the best in red. Below, each setting against the objective, the darker the later
    the round of the trial, and the best score so far. Settings that were the same in all trials are
    left out; a trial that does not use a setting has no point there.

    Args:
        result: A `keras_deeptricks.tuners.SearchResult`.

    Returns:
        The Matplotlib `Figure`.

    Raises:
        ValueError: No trial has a score.

    Example:

    ```python
    import tempfile
    import numpy as np
    import keras_deeptricks as kdt

    x = np.random.default_rng(0).normal(size=(100, 4))
    y = np.where(x.sum(axis=1) > 0, "yes", "no")
    space = {"depth": 1, "width": (4, 16), "learning_rate": (1e-3, 1e-1)}
    with tempfile.TemporaryDirectory() as folder:
        found = kdt.tuners.search(
            x, y, trials=2, epochs=1, space=space, refit=False, directory=folder
        )
    kdt.visualization.plot_search(found).savefig("search.png")
    ```
    """
    trials = result.ranked()
    if not trials:
        raise ValueError("There is nothing to draw: no trial has a score.")
    names = _varied(trials)
    rows = math.ceil((len(names) + 1) / _COLUMNS)
    figure, _ = new_figure(1, 1, figsize=(12, 3.6 + 2.4 * rows))
    figure.clear()
    grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=[1.5] + [1] * rows)
    scales = {name: _Scale([trial["settings"].get(name) for trial in trials]) for name in names}
    _draw_lines(figure.add_subplot(grid[0, :]), result, trials, names, scales)
    for number, name in enumerate(names):
        ax = figure.add_subplot(grid[1 + number // _COLUMNS, number % _COLUMNS])
        _draw_setting(ax, result, trials, name, scales[name])
    last = len(names)
    _draw_progress(figure.add_subplot(grid[1 + last // _COLUMNS, last % _COLUMNS]), result)
    return figure


class _Scale:
    """Where the values of one setting lie: numbers on a linear or log scale, others in order."""

    def __init__(self, values):
        values = [value for value in values if value is not None]
        self.is_number = all(
            isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
        )
        if self.is_number:
            low, high = min(values), max(values)
            self.is_log = low > 0 and high / low >= 10
            self.low, self.high = self._scaled(low), self._scaled(high)
            self.ticks = [low, high]
        else:
            self.is_log = False
            self.names = sorted({str(value) for value in values})
            self.low, self.high = 0, len(self.names) - 1
            self.ticks = self.names

    def place(self, value):
        """Of a value, in its own unit; NaN for None."""
        if value is None:
            return math.nan
        return self._scaled(value) if self.is_number else self.names.index(str(value))

    def share(self, value):
        """The place of a value between 0 and 1; NaN for None."""
        width = self.high - self.low
        return (self.place(value) - self.low) / width if width else 0.5 + 0 * self.place(value)

    def _scaled(self, value):
        return math.log10(value) if self.is_log else float(value)


def _varied(trials):
    """The settings with more than one value, in their order."""
    values = {}
    for trial in trials:
        for name, value in trial["settings"].items():
            values.setdefault(name, set()).add(str(value))
    return [name for name, found in values.items() if len(found) > 1]


def _draw_lines(ax, result, trials, names, scales):
    import matplotlib

    colours = matplotlib.colormaps[_COLOURS](np.linspace(1, 0, len(trials)))
    score = _Scale([trial["score"] for trial in trials])
    columns = [*names, result.objective]
    for rank, (trial, colour) in reversed(list(enumerate(zip(trials, colours, strict=True)))):
        heights = [scales[name].share(trial["settings"].get(name)) for name in names]
        heights.append(score.share(trial["score"]))
        best = rank == 0
        ax.plot(
            range(len(columns)),
            heights,
            color="tab:red" if best else colour,
            linewidth=2.5 if best else 1,
            alpha=1 if best else 0.7,
            # Alone between two that do not apply, a setting has no line.
            marker=".",
        )
    for position, scale in enumerate([*(scales[name] for name in names), score]):
        ax.axvline(position, color="0.8", linewidth=0.8, zorder=0)
        for tick in scale.ticks:
            text = f"{tick:.3g}" if scale.is_number else tick
            height = scale.share(tick)
            ax.text(position + 0.03, height, text, fontsize=8, va="center")
    ax.set_xticks(range(len(columns)), [name.replace("_", "\n") for name in columns], fontsize=8)
    ax.set_yticks([])
    ax.set_xlim(-0.2, len(columns) - 0.5)
    ax.set_ylim(-0.06, 1.06)
    better = "higher" if result.direction == "max" else "lower"
    has_rounds = any(trial["round"] for trial in trials)
    ax.set_title(
        f"{len(trials)} trials: brighter is better ({better} {result.objective}), the best is red"
        + "; below, darker is a later round" * has_rounds
    )


def _draw_setting(ax, result, trials, name, scale):
    from matplotlib import ticker

    used = [trial for trial in trials if trial["settings"].get(name) is not None]
    values = [trial["settings"][name] for trial in used]
    places = values if scale.is_number else [scale.place(value) for value in values]
    scores = [trial["score"] for trial in used]
    rounds = [trial["round"] or 0 for trial in used]
    ax.scatter(places, scores, c=rounds, cmap="cividis_r", s=22, edgecolors="0.3", linewidths=0.4)
    best = trials[0]
    if best["settings"].get(name) is not None:
        value = best["settings"][name]
        place = value if scale.is_number else scale.place(value)
        ax.scatter([place], [best["score"]], color="tab:red", s=45, zorder=3)
    if scale.is_log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        if scale.high - scale.low < 2:  # decades: of the powers of ten there are too few
            ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    elif scale.is_number and all(isinstance(value, int) for value in values):
        ax.xaxis.get_major_locator().set_params(integer=True)
    if not scale.is_number:
        ax.set_xticks(range(len(scale.names)), scale.names, fontsize=8)
        ax.set_xlim(-0.5, len(scale.names) - 0.5)
    ax.set_xlabel(name.replace("_", " "))
    ax.set_ylabel(result.objective, fontsize=8)
    _cut_off_failures(ax, [trial["score"] for trial in trials], result.direction)


def _draw_progress(ax, result):
    best = result.best_scores()
    ax.step(range(1, len(best) + 1), best, where="post", color="tab:red")
    scores = [trial["score"] for trial in result.trials if trial["score"] is not None]
    ax.plot(range(1, len(scores) + 1), scores, ".", color="0.5")
    ax.set_xlabel("trials with a score")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_ylabel(result.objective, fontsize=8)
    ax.set_title("best so far", fontsize=9)
    _cut_off_failures(ax, scores, result.direction)


def _cut_off_failures(ax, scores, direction):
    """Leaves out the worst of trials that failed, so that the others can be told apart."""
    low, middle, high = np.quantile(scores, [0.25, 0.5, 0.75])
    reach = 8 * max(high - low, 1e-12)
    if direction == "max" and min(scores) < middle - reach:
        ax.set_ylim(bottom=max(min(scores), middle - reach))
    elif direction == "min" and max(scores) > middle + reach:
        ax.set_ylim(top=min(max(scores), middle + reach))
