"""The finished runs of an ablation, in memory or one file each in a folder."""

import hashlib
import json
import os
import pathlib
import re

from keras_deeptricks.utils.results import from_json, to_json

_EXPERIMENT = "experiment.json"


class RunStore:
    """Keeps what each run, of a configuration and a seed, has measured.

    Args:
        directory: Folder for one JSON file per run, so that a later process goes on from them, or
            None to keep them in memory alone. It is made if it does not exist.
        experiment: Dictionary of what identifies the experiment, as JSON can hold it.

    Raises:
        ValueError: The folder holds runs of another experiment.
    """

    def __init__(self, directory, experiment):
        self.records = {}
        self.directory = None if directory is None else pathlib.Path(directory)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._claim(experiment)

    def find(self, on, seed):
        """The record of a finished run, or None.

        That of a run which ended with an exception is no finished one of another process: it may
        have been for want of memory. Nor is one whose file cannot be read.
        """
        key = tuple(sorted(on)), seed
        if key not in self.records and self.directory is not None:
            record = _read(self._path(on, seed))
            if _is_finished(record) and (tuple(record["on"]), record["seed"]) == key:
                self.records[key] = record
        return self.records.get(key)

    def add(self, on, seed, record):
        """Keeps the record of a run; its file is there whole or not at all."""
        record = {"on": sorted(on), "seed": seed, **record}
        self.records[tuple(record["on"]), seed] = record
        if self.directory is not None:
            _write(self._path(on, seed), record)

    def _path(self, on, seed):
        # Names may hold any sign, and there may be many.
        words = "+".join(re.sub(r"\W+", "_", name) for name in sorted(on))[:60] or "plain"
        digest = hashlib.sha256(json.dumps(sorted(on)).encode()).hexdigest()[:8]
        return self.directory / f"{words}-{digest}-seed-{seed}.json"

    def _claim(self, experiment):
        """Makes the folder that of `experiment`, or finds that it is.

        Raises:
            ValueError: it is another's.
        """
        path = self.directory / _EXPERIMENT
        experiment = json.loads(json.dumps(to_json(experiment)))
        there = _read(path)
        if there is None:
            if any(self.directory.glob("*-seed-*.json")):
                raise ValueError(
                    f"`directory`: '{self.directory}' holds runs, but no {_EXPERIMENT} that can be "
                    "read and says of what. Pass another folder, or empty this one."
                )
            _write(path, experiment)
        elif there != experiment:
            parts = [
                name
                for name in {**there, **experiment}
                if there.get(name, path) != experiment.get(name, path)
            ]
            raise ValueError(
                f"`directory`: '{self.directory}' holds the runs of another experiment; it differs "
                f"in: {', '.join(parts)}. Pass another folder, or empty this one."
            )


def _is_finished(record):
    fields = {"on": list, "seed": int, "history": dict, "kept": dict}
    return (
        record is not None
        and all(isinstance(record.get(name), kind) for name, kind in fields.items())
        and record.get("raised", "?") is None
    )


def _read(path):
    """The dictionary in a JSON file, or None where there is no file or no dictionary in it."""
    try:
        content = from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if isinstance(content, dict) else None


def _write(path, content):
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(to_json(content), indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)
