"""Where a request comes from, behind proxies that are trusted to say so."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORWARDED = "X-Forwarded-For"


def remote_address(request: web.Request, trusted: Sequence[Network]) -> Address | None:
    """The client's address: the socket's, or the last in `X-Forwarded-For` that no trusted proxy has; None for a Unix
    socket.
    """
    hops = [part for line in request.headers.getall(FORWARDED, ()) for part in line.split(",")]
    address = _parsed(request.remote or "")
    while address is not None and hops and is_among(address, trusted):
        address = _parsed(hops.pop())
    return address


def is_among(address: Address | None, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has the address; an IPv4 address may come as `::ffff:…`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address is not None and any(address in network for network in networks)


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
