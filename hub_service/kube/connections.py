"""Connections to the API server that end when they are closed."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def session(configuration: Configuration, *, limit: int) -> aiohttp.ClientSession:
    """A session as the client's own, on sockets that keep nothing back.

    limit: of connections at a time; 0: none. What waits for one waits within its own time-out.

    A closed socket's unsent bytes would go on being sent by the operating system, for minutes: a
    write that was given up because the network was cut would reach the server when it is healed,
    when another may have taken over.
    """
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.disable_strict_ssl_verification:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    connector = aiohttp.TCPConnector(limit=limit, ssl=context, socket_factory=_socket)
    # One event of a watch can be over a megabyte. `trust_env` would have a thread look for a .netrc
    # before every request, and the environment read for a proxy: see `proxy`.
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**21
    )


def proxy(configuration: Configuration) -> str | None:
    """The proxy on the way to the server: the kubeconfig's, else the environment's for its host."""
    if configuration.proxy:
        return str(configuration.proxy)
    server = urlsplit(configuration.host)
    if server.hostname is None or proxy_bypass(server.hostname):
        return None
    return getproxies().get(server.scheme)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    return made
