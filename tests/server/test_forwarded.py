"""X-Forwarded-For: believed from proxies that are named, from its end, and as far as they are."""

import pytest
import trio

from door import request
from penstock.providers.memory import memory_pair
from penstock.server.forwarded import TrustedProxies
from penstock.server.intake import Intake
from rig import Rig
from scripted import Upstream

PROXIES = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("10.1.1.1", None, "10.1.1.1"),
        ("10.1.1.1", "198.51.100.5", "198.51.100.5"),
        ("10.1.1.1", "203.0.113.9, 198.51.100.5", "198.51.100.5"),  # who sent the first one is not known
        ("10.1.1.1", "198.51.100.5, 10.2.2.2", "198.51.100.5"),
        ("192.0.2.7", "198.51.100.5,10.2.2.2 , 2001:db8::1", "198.51.100.5"),
        ("10.1.1.1", "[2001:db9::1]", "2001:db9::1"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.5, unknown", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.5, x, 10.2.2.2", "10.2.2.2"),
        ("192.0.2.8", "198.51.100.5", "192.0.2.8"),
        ("198.51.100.1", "10.1.1.1", "198.51.100.1"),
        ("not an address", "198.51.100.5", "not an address"),
    ],
)
def test_who_the_client_is(peer, header, client):
    assert TrustedProxies(PROXIES).client(peer, header) == client


def test_nobody_is_believed_who_is_not_named():
    assert TrustedProxies([]).client("127.0.0.1", "198.51.100.5") == "127.0.0.1"


@pytest.mark.parametrize("name", ["proxy.example", "10.0.0.0/40", ""])
def test_a_proxy_is_an_address_or_a_network(name):
    with pytest.raises(ValueError):
        TrustedProxies([name])


@pytest.mark.parametrize(("peer", "client"), [("10.1.1.1", "198.51.100.5"), ("172.16.0.1", "172.16.0.1")])
async def test_a_request_has_the_address_of_its_client(nursery, autojump_clock, peer, client):
    rig = Rig(nursery, Upstream(nursery), '[server]\ntrusted_proxies = ["10.0.0.0/8"]\n')
    ours, theirs = memory_pair()
    intake = Intake(rig.gateway, ours, peer)
    async with trio.open_nursery() as reading:
        reading.start_soon(intake.pump)
        lines = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.5, 10.9.9.9"]
        await theirs.send_all(request("GET", "/ready", *lines))
        asked = await intake.next_request()
        reading.cancel_scope.cancel()
    assert asked.peer == client
