"""Outbound webhooks reach public addresses only, whatever name or notation the URL has.

The check stands where a socket is made for an address that is about to be connected to: behind every name server's
answer (DNS rebinding), and behind literal addresses, which aiohttp gives to no resolver.
"""

import asyncio
import errno
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

# IANA's special-purpose registries (RFC 6890), written out: what `ipaddress` calls global differs between Pythons.
NOT_PUBLIC_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # unspecified, this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host, though its range is public
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# All the rest is refused: ::1, ::ffff:0:0/96 (IPv4-mapped), 64:ff9b::/96 (NAT64), fc00::/7, fe80::/10, ff00::/8 …
GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
NOT_PUBLIC_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, with an IPv4 address inside
        "3fff::/20",  # documentation
    )
)


class PrivateTargetError(OSError):
    """The address that was about to be connected to is not public."""


def is_public(address: str) -> bool:
    """Whether `address`, as the kernel would get it, may be a webhook's target; what is no address is not."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in NOT_PUBLIC_IPV4)
    return parsed in GLOBAL_UNICAST_IPV6 and not any(parsed in network for network in NOT_PUBLIC_IPV6)


def open_public_socket(address_info: AddrInfoType) -> socket.socket:
    """The `socket_factory` of a connector: a socket for a public address; raises `PrivateTargetError` for any other."""
    family, kind, protocol, _, address = address_info
    if not is_public(str(address[0])):
        # One text for all addresses of a name: the connector merges texts that differ, and the class is lost.
        raise PrivateTargetError(errno.EACCES, "not a public address")
    return socket.socket(family, kind, protocol)


class OwnThreadsResolver(AbstractResolver):
    """The system's resolver in threads of its own: one endpoint's dead name server holds up no other and no worker."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; raises `OSError`."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError as error:  # a label that is empty or too long
            raise OSError(errno.EINVAL, "not a host name") from error
        return [_result(host, port, family, str(address[0])) for family, _, _, _, address in found]

    async def close(self) -> None:
        """Let the threads go, without waiting for a name server."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(host: str, port: int, family: int, address: str) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)
