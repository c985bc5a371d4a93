"""Addresses for pods, out of the platform's part of the loopback network."""

from __future__ import annotations


class Addresses:
    """NETWORK.1.1 to NETWORK.249.254, one after the other, so that a freed one rests as long as possible."""

    def __init__(self, network: str) -> None:
        self._network = network
        self._used: set[str] = set()
        self._next = 0

    def take(self, address: str) -> None:
        """Notes one that is in use already."""
        self._used.add(address)

    def give(self) -> str:
        """A free one. RuntimeError when there is none."""
        for _ in range(249 * 254):
            third, fourth = divmod(self._next, 254)
            self._next = (self._next + 1) % (249 * 254)
            address = f"{self._network}.{third + 1}.{fourth + 1}"
            if address not in self._used:
                self._used.add(address)
                return address
        raise RuntimeError("all addresses of the pods' network are in use; delete pods")

    def free(self, address: str) -> None:
        """Gives one back."""
        self._used.discard(address)
