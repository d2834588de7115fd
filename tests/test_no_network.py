"""The tests ask for no other machine, and would be told if they did."""

import socket
import urllib.request

import pytest
from no_network import NetworkRefused


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("198.51.100.7", 443)])
def test_another_machine_is_refused(address):
    with socket.socket() as client:
        client.settimeout(0.01)
        with pytest.raises(NetworkRefused, match=address[0]):
            client.connect(address)


def test_names_are_not_looked_up():
    with pytest.raises(NetworkRefused, match=r"example\.org"):
        socket.getaddrinfo("example.org", 80)


def test_clients_do_not_take_it_for_a_bad_connection():
    with pytest.raises(NetworkRefused):
        urllib.request.urlopen("http://example.org", timeout=0.01)


def test_datagrams_are_refused():
    with socket.socket(type=socket.SOCK_DGRAM) as client, pytest.raises(NetworkRefused):
        client.sendto(b"", ("192.0.2.1", 9))


def test_this_machine_is_allowed(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    monkeypatch.chdir(tmp_path)  # the address of a socket is at most 108 bytes
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("here")
        server.listen()
        client.connect("here")
