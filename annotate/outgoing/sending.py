"""One POST to an address that a person has typed in: never into the server's own network, and never for long.

The host is resolved here, every address it has is looked at, and the connection goes to the one that was looked at: a name that
means something else a moment later changes nothing. Redirects are not followed, proxies not used.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

CONNECT_SECONDS = 5
WHOLE_SECONDS = 10  # however slowly it speaks
READ = 500  # bytes of the answer that are kept
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """Nothing is sent there; the text says why and what to do."""


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


def check_url(url: str, *, internal: bool) -> SplitResult:
    """Its parts, if it may be tried. Raises AddressRefused. Where the host's name leads is looked at before each try."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused("This is no web address. Write it as https://example.org/path.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise AddressRefused("The address must begin with https:// or http:// and name a host.")
    if parts.username or parts.password:
        raise AddressRefused("Leave the user name and password out of the address: check the signature instead.")
    if not internal and (literal := _literal(parts.hostname)) and not is_public(literal):
        raise AddressRefused(_internal(parts.hostname))
    return parts


def is_public(address: Address) -> bool:
    """`is_public(ip_address("10.0.0.1"))` → False; an IPv4 address inside an IPv6 one counts as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (
            ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
        )  # fmt: skip
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def post(url: str, body: bytes, headers: dict[str, str], *, internal: bool) -> Answer:
    """Raises AddressRefused, or OSError and http.client.HTTPException when nobody answers as they should."""
    parts = check_url(url, internal=internal)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=CONNECT_SECONDS)
    connection.sock = _connect(parts, port, internal)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ended = threading.Event()
    timer = threading.Timer(WHOLE_SECONDS, _cut, [connection.sock, ended])
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", path, body, {**headers, "Host": _host_header(parts), "Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(READ).decode("utf-8", "replace")
        if ended.is_set():
            raise TimeoutError(f"no whole answer within {WHOLE_SECONDS} seconds")
        return Answer(answer.status, text)
    except (OSError, http.client.HTTPException):
        if ended.is_set():
            raise TimeoutError(f"no whole answer within {WHOLE_SECONDS} seconds") from None
        raise
    finally:
        timer.cancel()
        connection.close()


def _cut(sock: socket.socket, ended: threading.Event) -> None:
    ended.set()
    with suppress(OSError):  # it has closed by itself
        sock.shutdown(socket.SHUT_RDWR)


def _connect(parts: SplitResult, port: int, internal: bool) -> socket.socket:
    """To the first address that answers, of those that were looked at."""
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(info[4][0] for info in found))
    if not internal and not all(is_public(ipaddress.ip_address(address.partition("%")[0])) for address in addresses):
        raise AddressRefused(_internal(parts.hostname))
    failure: OSError | None = None
    for address in addresses[:3]:
        try:
            sock = socket.create_connection((address, port), CONNECT_SECONDS)
            return (
                ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
                if parts.scheme == "https"
                else sock
            )
        except OSError as error:
            failure = error
    raise failure or OSError(f"{parts.hostname} has no address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_header(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port}" if parts.port else host


def _internal(host: str) -> str:
    return (
        f"{host} leads into the server's own network, where webhooks send nothing. Whoever runs this server can allow it: "
        "WEBHOOKS_MAY_BE_INTERNAL=1."
    )
