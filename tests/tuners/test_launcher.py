"""The launcher, with commands that only sleep and die."""

import os
import signal
import subprocess
import sys
import threading
import time

import keras
import pytest

from keras_deeptricks.tuners import launcher

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals"),
    pytest.mark.skipif(keras.config.backend() != "jax", reason="nothing here depends on it"),
]

# Each process writes a line when it starts; NAME and the number of its starts are known to it.
PROGRAM = """
import os, pathlib, signal, sys, time
name = os.environ["KERASTUNER_TUNER_ID"]
folder = pathlib.Path({folder!r})
lives = len(list(folder.glob(name + ".life*")))
(folder / f"{{name}}.life{{lives}}").write_text(str(os.getpid()))
def wait_for(pattern, count=1):
    while len(list(folder.glob(pattern))) < count:
        time.sleep(0.01)
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
sleep = lambda: time.sleep(600)
chief = name == "chief"
"""


def run(tmp_path, body, workers=2, **options):
    lines = []
    program = PROGRAM.format(folder=str(tmp_path)) + body
    options = {"grace": 0.5, "report": lines.append, "directory": tmp_path / "logs", **options}
    done = launcher.launch([sys.executable, "-c", program], workers, **options)
    for path in tmp_path.glob("*.life*"):
        assert not alive(int(path.read_text()))
    return done, "\n".join(lines)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ends_well(tmp_path):
    body = "print(name, os.environ['KERASTUNER_ORACLE_IP'], os.environ['MORE'])"
    done, told = run(tmp_path, body, environment={"MORE": "yes"}, threads_per_worker=1)
    assert done.exit_code == 0
    assert done.restarts == {"chief": 0, "worker0": 0, "worker1": 0}
    assert done.given_up == ()
    assert done.logs["chief"].read_text() == "chief 127.0.0.1 yes\n"
    assert "the search ended after" in told


def test_gpus_and_starts(tmp_path):
    body = """
print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"],
      os.environ["KERAS_DEEPTRICKS_START"], os.environ["no_grpc_proxy"])
if name == "worker1" and lives == 0: die()
if chief: wait_for("worker1.life*", 2)
else: sleep()
"""
    environment = {"CUDA_VISIBLE_DEVICES": "4,5,6,7", "no_grpc_proxy": "a"}
    done, _ = run(tmp_path, body, gpus_per_worker=2, environment=environment)
    assert done.logs["chief"].read_text() == "4,5 false 0 127.0.0.1\n"
    assert done.logs["worker0"].read_text() == "4,5 false 0 127.0.0.1\n"
    assert done.logs["worker1"].read_text().splitlines()[-1] == "6,7 false 1 127.0.0.1"
    with pytest.raises(ValueError, match="more GPUs than CUDA_VISIBLE_DEVICES=4,5,6,7"):
        run(tmp_path, body, gpus_per_worker=3, environment=environment)


def test_a_killed_launcher_leaves_nothing_behind(tmp_path):
    body = """
from keras_deeptricks.tuners.cluster import _end_with_launcher
_end_with_launcher()
sleep()
"""
    program = PROGRAM.format(folder=str(tmp_path)) + body
    launching = (
        "import sys; from keras_deeptricks.tuners import launcher; "
        f"launcher.launch([sys.executable, '-c', {program!r}], 1, directory={str(tmp_path)!r})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", launching], env=environment)
    # Before its processes have even begun to watch.
    while len(list(tmp_path.glob("*.life0"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    for path in tmp_path.glob("*.life0"):
        assert _gone(path.read_text())


def test_a_dead_worker_is_started_again(tmp_path):
    body = """
if chief: wait_for("worker0.life*", 3)
elif name == "worker0" and lives == 0: die()
elif name == "worker0" and lives == 1: sys.exit("an error")
else: sleep()
"""
    done, told = run(tmp_path, body)
    assert done.exit_code == 0
    assert done.restarts == {"chief": 0, "worker0": 2, "worker1": 0}
    assert "worker0 died (SIGKILL) and was started again" in told
    assert "worker0 died (exit code 1) and was started again" in told
    assert "an error" in done.logs["worker0"].read_text()


def test_a_worker_that_keeps_dying_is_given_up(tmp_path):
    body = """
if chief:
    wait_for("worker0.life*", 3)
    time.sleep(1.0)
elif name == "worker0": die()
else: sleep()
"""
    done, told = run(tmp_path, body, restarts=2)
    assert done.exit_code == 0
    assert done.given_up == ("worker0",)
    assert done.restarts["worker0"] == 2
    assert "given up" in told


def test_no_worker_left(tmp_path):
    done, told = run(tmp_path, "sleep() if chief else die()", restarts=1)
    assert done.exit_code == 1
    assert sorted(done.given_up) == ["worker0", "worker1"]
    assert "no worker is left" in told


def test_workers_that_go_home_before_the_search_is_over(tmp_path):
    body = "sleep() if chief else sys.exit(0)"
    done, told = run(tmp_path, body, heartbeat_timeout=0.1, grace=0.5)
    assert done.exit_code == 1
    assert "no worker is left" in told


def test_a_killed_chief_and_its_workers_start_again(tmp_path):
    body = """
if chief:
    wait_for("worker*.life*", 2 * (lives + 1))
    die() if lives == 0 else sys.exit(0)
else: sleep()
"""
    done, told = run(tmp_path, body)
    assert done.exit_code == 0
    assert done.restarts == {"chief": 1, "worker0": 1, "worker1": 1}
    assert "chief died (SIGKILL); all start again" in told


def test_a_chief_that_fails_ends_the_search(tmp_path):
    done, told = run(tmp_path, "sys.exit('bad data') if chief else sleep()")
    assert done.exit_code == 1
    assert done.restarts["chief"] == 0
    assert "the search failed (exit code 1); see" in told
    assert "bad data" in done.logs["chief"].read_text()


def test_those_deaf_to_signals_are_killed_with_their_children(tmp_path):
    body = """
if chief: wait_for("worker0.child")
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "child.tmp").write_text(str(child.pid))
    (folder / "child.tmp").rename(folder / "worker0.child")
    sleep()
"""
    done, _ = run(tmp_path, body, workers=1, grace=0.5)
    assert done.exit_code == 0
    assert _gone((tmp_path / "worker0.child").read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_all(number, tmp_path):
    def interrupt():
        while len(list(tmp_path.glob("*.life0"))) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    # A program that a shell has started in the background ignores SIGINT.
    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    expected = SystemExit if number == signal.SIGTERM else KeyboardInterrupt
    try:
        with pytest.raises(expected):
            run(tmp_path, "sleep()")
    finally:
        signal.signal(signal.SIGINT, own)
    for path in tmp_path.glob("*.life*"):
        assert _gone(path.read_text())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"command": "python"}, "must be a list"),
        ({"command": []}, "must be a list"),
        ({"workers": 0}, "`workers` must be"),
        ({"restarts": -1}, "`restarts` must be"),
        ({"grace": -1}, "`grace` must be"),
        ({"heartbeat_timeout": 0}, "`heartbeat_timeout` must be"),
        ({"threads_per_worker": 0}, "`threads_per_worker` must be"),
        ({"address": "0.0.0.0"}, "neither encrypted nor authenticated"),
    ],
)
def test_wrong_arguments(change, message, tmp_path):
    arguments = {"command": ["true"], "workers": 1, "directory": tmp_path, **change}
    with pytest.raises(ValueError, match=message):
        launcher.launch(**arguments)


def test_an_open_address_warns(tmp_path):
    with pytest.warns(UserWarning, match="neither encrypted nor authenticated"):
        done, _ = run(tmp_path, "pass", workers=1, address="0.0.0.0", allow_network=True)
    assert done.exit_code == 0


def _gone(pid):
    """A killed process needs a moment to end, and stays on the list until it is collected."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
        if state.stdout.strip()[:1] in ("", "Z"):
            return True
        time.sleep(0.05)
    return False
