"""Connections to the API server that end when they are closed."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

import aiohttp
from kubernetes_asyncio.client import Configuration

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def session(configuration: Configuration) -> aiohttp.ClientSession:
    """A session as the client's own, on sockets that keep nothing back.

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
    connector = aiohttp.TCPConnector(
        limit=configuration.connection_pool_maxsize, ssl=context, socket_factory=_socket
    )
    # One event of a watch can be over a megabyte.
    return aiohttp.ClientSession(connector=connector, trust_env=True, read_bufsize=2**21)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    return made
