"""Which addresses may be reached: global ones on the ports of the web, and those that are listed.

Covered: private, loopback, link-local, shared, reserved, multicast and documentation addresses, in
every spelling that ends as an address; IPv4 inside IPv6 (mapped, NAT64, 6to4, Teredo); names of
which one address of several is not global.
Not covered: a global address of this machine or of its neighbours that a firewall keeps from the
rest of the world.
Knows no sockets: it is given what a name resolved to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

WEB_PORTS = frozenset({80, 443})
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")
_ALLOWED_FORM = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(:(?P<port>\d{1,5}))?")
# Answers to the virtual machines of one provider alone, like 169.254.169.254 with others.
_PLATFORM = IPv4Address("168.63.129.16")


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """A listed host, lower case and without brackets; any port where none is given."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """Read `host`, `host:port`, an IPv6 address or `[address]:port`.

        Raises:
            ValueError: it is none of these.
        """
        if text.count(":") > 1 and not text.startswith("["):
            return cls(str(ip_address(text)))
        match = _ALLOWED_FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a host or host:port, such as '127.0.0.1:8000'")
        host = match["host"].strip("[]").rstrip(".").lower()
        if match["host"].startswith("["):
            host = str(ip_address(host))
        return cls(host, int(match["port"]) if match["port"] else None)


class Allowance:
    """Says whether a host may be reached."""

    def __init__(self, listed: Collection[AllowedHost] = ()) -> None:
        self._listed = frozenset(listed)

    def is_listed(self, host: str, port: int) -> bool:
        """Whether the user listed the host, as it is written in the address."""
        return not self._listed.isdisjoint({AllowedHost(host), AllowedHost(host, port)})

    def refusal(self, host: str, port: int, addresses: Sequence[str]) -> str | None:
        """Say why the host is refused, given what it resolved to; None where it is not."""
        if self.is_listed(host, port):
            return None
        remedy = f"if you trust it, list it in the setting browser.allow_hosts as {host!r}"
        if port not in WEB_PORTS:
            return f"port {port} is refused, only 80 and 443 are allowed; {remedy}"
        for address in addresses:
            if not is_global(address):
                of = "" if address == host else f", the address of {host!r},"
                return f"{address}{of} is not on the public internet and is refused; {remedy}"
        return None


def is_global(text: str) -> bool:
    """Whether an address belongs to the public internet."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is None:
            is_unicast = address in _GLOBAL_UNICAST
            return is_unicast and address.is_global and not (address.sixtofour or address.teredo)
        address = embedded
    return address.is_global and not address.is_multicast and address != _PLATFORM


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
