import socket

import numpy as np
import pytest

from fedsight.demo import wire
from fedsight.demo.cast import Part
from fedsight.demo.cities import CITIES
from fedsight.demo.lobby import Arrived, Joined, Lobby, Lost

DATA = [np.ones((2, 2), np.float32)]
UPDATE = wire.Update(1, 2, 0.5, 0.7, 0.1, 0.01, 3.0, 40.0, 0.2)


def welcome_for(hello):
    part = {"madrid": Part("madrid", CITIES[4])}[hello.client_id]
    return wire.Welcome("run", "runs", part, 0.1, 8), [] if hello.has_data else DATA


@pytest.fixture
def lobby():
    lobby = Lobby(welcome_for, timeout_sec=0.5)
    yield lobby
    lobby.close()


def come_in(lobby, client_id="madrid", has_data=False):
    link = wire.Connection(socket.create_connection((lobby.host, lobby.port)), timeout_sec=5)
    link.send(wire.Hello(client_id, has_data))
    return link


def test_a_client_gets_its_data_once(lobby):
    first = come_in(lobby)
    assert len(first.receive(wait_sec=5)[1]) == 1
    assert lobby.news.get(timeout=5) == Joined("madrid", returned=False)
    first.close()
    assert lobby.news.get(timeout=5) == Lost("madrid", "connection closed by the other side", left=False)
    second = come_in(lobby, has_data=True)
    assert second.receive(wait_sec=5)[1] == []
    assert lobby.news.get(timeout=5) == Joined("madrid", returned=True)
    second.close()


def test_an_update_comes_with_the_bytes_of_its_round_trip(lobby):
    link = come_in(lobby)
    link.receive(wait_sec=5)
    lobby.news.get(timeout=5)
    before = link.bytes_sent, link.bytes_received
    assert lobby.send("madrid", wire.Train(1), DATA)
    link.receive(wait_sec=5)
    link.send(wire.Ping())
    assert link.receive(wait_sec=5)[0] == wire.Pong()
    link.send(UPDATE, DATA)
    news = lobby.news.get(timeout=5)
    assert isinstance(news, Arrived)
    assert news.update == UPDATE
    assert (news.bytes_up, news.bytes_down) == (link.bytes_sent - before[0], link.bytes_received - before[1])
    link.close()


def test_who_leaves_is_told_from_who_is_lost(lobby):
    link = come_in(lobby)
    link.receive(wait_sec=5)
    lobby.news.get(timeout=5)
    link.send(wire.Leave("night shift"))
    assert lobby.news.get(timeout=5) == Lost("madrid", "night shift", left=True)
    assert lobby.connected() == set()
    assert not lobby.send("madrid", wire.Train(1))
    link.close()


@pytest.mark.parametrize("message", [UPDATE, wire.Stop()], ids=["unasked update", "server's word"])
def test_a_client_that_breaks_the_protocol_is_lost(lobby, message):
    link = come_in(lobby)
    link.receive(wait_sec=5)
    lobby.news.get(timeout=5)
    link.send(message)
    news = lobby.news.get(timeout=5)
    assert isinstance(news, Lost)
    assert "update that nobody asked for" in news.reason or "may not send Stop" in news.reason
    link.close()


@pytest.mark.parametrize("client_id", ["madrid-2", ""])
def test_a_stranger_is_not_let_in(lobby, client_id):
    link = come_in(lobby, client_id)
    with pytest.raises(wire.ConnectionEnded):
        link.receive(wait_sec=5)
    assert lobby.connected() == set()
    link.close()


def test_who_does_not_say_hello_is_not_let_in(lobby):
    link = wire.Connection(socket.create_connection((lobby.host, lobby.port)), timeout_sec=5)
    link.send(wire.Ping())
    with pytest.raises(wire.ConnectionEnded):
        link.receive(wait_sec=5)
    link.close()


def test_a_second_connection_takes_the_first_ones_place(lobby):
    first = come_in(lobby)
    first.receive(wait_sec=5)
    lobby.news.get(timeout=5)
    second = come_in(lobby, has_data=True)
    second.receive(wait_sec=5)
    assert lobby.news.get(timeout=5) == Lost("madrid", "replaced by a new connection", left=False)
    assert lobby.news.get(timeout=5) == Joined("madrid", returned=True)
    with pytest.raises(wire.ConnectionEnded):
        first.receive(wait_sec=5)
    lobby.send("madrid", wire.Received(3))
    assert second.receive(wait_sec=5)[0] == wire.Received(3)
    first.close()
    second.close()


def test_closing_tells_everybody(lobby):
    link = come_in(lobby)
    link.receive(wait_sec=5)
    lobby.close()
    assert link.receive(wait_sec=5)[0] == wire.Stop()
    link.close()
