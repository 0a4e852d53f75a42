"""Who a client is when a proxy stands between: believed only from proxies that are named.

`X-Forwarded-For` is a list to which each proxy appends whom it saw. Anyone can send one, so it is read from
its end, and only as far as the addresses belong to proxies that the configuration trusts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["TrustedProxies"]


class TrustedProxies:
    """The addresses and networks whose word is taken. Raises ValueError for what is neither."""

    def __init__(self, names: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The client's address: the peer's, or the last one on the list that is no trusted proxy."""
        if forwarded_for is None or not self._trusts(peer):
            return peer
        for hop in reversed(forwarded_for.split(",")):
            address = hop.strip().strip("[]")
            try:
                ipaddress.ip_address(address)
            except ValueError:
                return peer  # not an address: whoever wrote it is not to be believed
            if not self._trusts(address):
                return address
            peer = address
        return peer

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)
