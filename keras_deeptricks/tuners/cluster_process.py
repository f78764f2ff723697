"""One process of a launched search: its command, its log, its group."""

import contextlib
import os
import signal
import subprocess
import time

from keras_deeptricks.tuners import cluster

START_VARIABLE = "KERAS_DEEPTRICKS_START"
_POLL_SECONDS = 0.05


class ClusterProcess:
    """One process of the cluster, in a process group of its own, with its log."""

    def __init__(self, name, command, variables, log):
        self.name = name
        self.command = command
        self.variables = variables
        self.log = log
        self.starts = 0
        self.popen = None

    def start(self, pipe):
        """Starts it; when the other end of `pipe` is closed, the launcher is gone."""
        variables = {START_VARIABLE: str(self.starts), cluster.LAUNCHER_VARIABLE: str(pipe)}
        with open(self.log, "ab" if self.starts else "wb") as log:
            self.popen = subprocess.Popen(
                self.command,
                env={**os.environ, **self.variables, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(pipe,),
            )
        self.starts += 1

    @property
    def restarts(self):
        return max(self.starts - 1, 0)

    def exit_code(self):
        """None while the process lives, negative where a signal ended it."""
        return None if self.popen is None else self.popen.poll()

    def send(self, number):
        """Sends a signal to the process and to those that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.popen.pid, number)
            elif self.exit_code() is None:
                self.popen.terminate()


def cause_of(code):
    """What ended a process, from its exit code, in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def wait_for_all(processes, seconds):
    """Waits until all have ended, but no longer than some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(p.exit_code() is None for p in processes):
        time.sleep(_POLL_SECONDS)


def end_all(processes, grace):
    """Ends the processes and their groups: asks first, and kills after `grace` seconds."""
    processes = [process for process in processes if process.popen is not None]
    for process in processes:
        process.send(signal.SIGTERM)
    wait_for_all(processes, grace)
    for process in processes:
        process.send(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.popen.wait()
