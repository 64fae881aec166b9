"""How ranks find each other: the variables that `model.agent` sets, and the addresses of several machines.

Nothing that a run opens may listen on all interfaces: the ranks' rendezvous and Gloo's and NCCL's connections have no
password.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from typing import Any

MEETING_FILE = "MILLRACE_MEETING_FILE"  # path of the rendezvous file for the ranks of one machine
MEETING_ENDPOINT = "MILLRACE_MEETING_ENDPOINT"  # HOST:PORT of rank 0's store, for the ranks of several machines
MEETING_RUN = "MILLRACE_MEETING_RUN"  # key of the run: ranks of different runs do not meet
MEETING_SOCKET = "MILLRACE_MEETING_SOCKET"  # rank 0's file descriptor that listens at the endpoint

POLL_SECONDS = 0.5
# A new pod's name may take half a minute to be published, and as long to replace the previous pod's in a DNS cache.
NAME_SECONDS = 90.0

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address may be in brackets. Raises ValueError."""
    host, _, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise ValueError(
            f"machines: endpoint is {endpoint!r}; it must be HOST:PORT of machine 0, such as 10.0.0.1:29400"
        )
    if (address := _literal(host)) is not None:
        _require_one_interface(address, endpoint)
    return host, int(port)


def listen_at(endpoint: str, patience: float = NAME_SECONDS) -> socket.socket:
    """A socket that listens at the address of `endpoint`, and at no other address.

    A host name is resolved again for `patience` seconds until it means this machine. Raises ValueError when the host
    is an address of another machine or of all interfaces, and OSError when the port is taken or the name does not come
    to mean this machine.
    """
    host, _ = split_endpoint(endpoint)
    deadline = time.monotonic() + patience
    while True:
        found = _resolve(endpoint, deadline)
        for family, address in found:
            _require_one_interface(ipaddress.ip_address(address[0]), endpoint)
            if (listener := _listen(family, address, endpoint)) is not None:
                return listener
        addresses = ", ".join(address[0] for _, address in found)
        if _literal(host) is not None:
            raise ValueError(
                f"machines: endpoint is {endpoint}, and {addresses} is not an address of {socket.gethostname()}, "
                "which is machine 0; name an address of machine 0, or give this machine its own rank"
            )
        if time.monotonic() >= deadline:
            raise OSError(
                f"machines: endpoint is {endpoint}, and {host} means {addresses}, which is not an address of "
                f"{socket.gethostname()}, which is machine 0; name an address of machine 0"
            )
        time.sleep(POLL_SECONDS)


def interface_to(endpoint: str, patience: float = NAME_SECONDS) -> str:
    """The name of the interface with which this machine reaches `endpoint`, or that has its address.

    Raises OSError when the host cannot be resolved within `patience` seconds or has no route.
    """
    family, address = _resolve(endpoint, time.monotonic() + patience)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing: it only selects the route
        return interface_of(probe.getsockname()[0])


def interface_of(address: str) -> str:
    """The name of this machine's interface that has `address`. Raises OSError when there is none."""
    import psutil  # later than the imports above: a run on one machine does not need it

    wanted = ipaddress.ip_address(address)
    held = [
        (name, ipaddress.ip_address(of.address))
        for name, addresses in psutil.net_if_addrs().items()
        for of in addresses
        if of.family in (socket.AF_INET, socket.AF_INET6)
    ]
    for name, other in held:
        # All of 127.0.0.0/8 is local, and only 127.0.0.1 is listed.
        if other == wanted or (wanted.is_loopback and other.is_loopback):
            return name
    raise OSError(
        f"machines: no network interface of {socket.gethostname()} has the address {address}; name the interface in "
        "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
    )


def wait_until_reachable(endpoint: str, seconds: float) -> None:
    """Return once a process listens at `endpoint`. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(split_endpoint(endpoint), timeout=max(1.0, deadline - time.monotonic())):
                return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"machine 0 did not listen at {endpoint} within {seconds:.0f} s ({error}); start it, and admit "
                    "this machine in its firewall"
                ) from error
        time.sleep(POLL_SECONDS)


def _require_one_interface(address: _Address, endpoint: str) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_unspecified:
        raise ValueError(
            f"machines: endpoint is {endpoint}, which means every interface; name one address of machine 0"
        )


def _literal(host: str) -> _Address | None:
    """The address that `host` spells out; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _resolve(endpoint: str, deadline: float) -> list[tuple[socket.AddressFamily, Any]]:
    """Families and socket addresses of `endpoint`, at least one; a name that is unknown is asked for again."""
    host, port = split_endpoint(endpoint)
    while True:
        try:
            return [(found[0], found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except socket.gaierror as error:
            if time.monotonic() >= deadline:
                raise OSError(f"machines: endpoint is {endpoint}, and {host} has no address: {error}") from error
        time.sleep(POLL_SECONDS)


def _listen(family: socket.AddressFamily, address: Any, endpoint: str) -> socket.socket | None:
    """A socket that listens at `address`; None when the address is another machine's."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the previous launch has just ended
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise OSError(
            f"machines: machine 0 cannot listen at {endpoint}: {error.strerror}; free the port, or name "
            "another one on every machine"
        ) from error
    return listener
