"""Heartbeats: what the variables say, and what goes over the port."""

import threading

import grpc
import pytest

from keras_deeptricks.tuners import heartbeat
from keras_deeptricks.tuners.launcher import free_port


class Ear:
    """Collects names; a test waits for the first."""

    def __init__(self):
        self.names = []
        self.heard = threading.Event()

    def __call__(self, worker):
        self.names.append(worker)
        self.heard.set()


@pytest.fixture
def chief():
    ear, port = Ear(), free_port()
    server = heartbeat.listen("127.0.0.1", port, ear)
    yield ear, port
    server.stop(None).wait()


def test_variables():
    assert heartbeat.timeout({}) == 60.0
    assert heartbeat.timeout({heartbeat.TIMEOUT_VARIABLE: "1.5"}) == 1.5
    assert heartbeat.port({"KERASTUNER_ORACLE_PORT": "8000"}) == 8001
    both = {"KERASTUNER_ORACLE_PORT": "8000", heartbeat.PORT_VARIABLE: "7000"}
    assert heartbeat.port(both) == 7000


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_wrong_timeout(text):
    with pytest.raises(ValueError, match="HEARTBEAT_TIMEOUT must be a number of seconds above 0"):
        heartbeat.timeout({heartbeat.TIMEOUT_VARIABLE: text})


@pytest.mark.parametrize("text", ["65535", "http", ""])
def test_a_wrong_port(text):
    with pytest.raises(ValueError, match="from 1 to 65535"):
        heartbeat.port({"KERASTUNER_ORACLE_PORT": text})


def test_beats_arrive_until_the_body_ends(chief):
    ear, port = chief
    with heartbeat.beating("worker3", "127.0.0.1", port, 0.05):
        assert ear.heard.wait(30)
    assert set(ear.names) == {"worker3"}
    count = len(ear.names)
    assert not [t for t in threading.enumerate() if t.name == "heartbeat-sender"]
    assert len(ear.names) == count


def test_a_chief_that_is_away_disturbs_nothing_and_is_found_again():
    ear, port = Ear(), free_port()
    with heartbeat.beating("worker0", "127.0.0.1", port, 0.05):
        assert not ear.heard.wait(0.3)
        server = heartbeat.listen("127.0.0.1", port, ear)
        assert ear.heard.wait(30)
    server.stop(None).wait()


@pytest.mark.parametrize("request_bytes", [b"", b"\xff\xfe", b"x" * 257])
def test_what_is_no_name_is_passed_over(request_bytes, chief):
    ear, port = chief
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/keras_deeptricks.Heartbeat/Beat")
        assert call(request_bytes, timeout=30) == b""
        call(b"worker0", timeout=30)
    assert ear.names == ["worker0"]


def test_a_second_chief_is_refused(chief):
    with pytest.raises(RuntimeError, match="is another chief running there"):
        heartbeat.listen("127.0.0.1", chief[1], print)
