"""A kernel's keys: the one that signs its messages, and where its spec wants that, those that
encrypt them (CurveZMQ).

They are fields of the connection file, which is in the kernel's Secret. Encrypted, a kernel answers
nobody who doesn't know its public key, which is not public: whoever has it has read the Secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import zmq

_PUBLIC, _SECRET = "curve_publickey", "curve_secretkey"
FIELDS = ("key", _PUBLIC, _SECRET)


def new(*, encrypted: bool) -> dict[str, str]:
    """Keys for one kernel, as fields of its connection file."""
    keys = {"key": secrets.token_hex(32)}
    if encrypted:
        public, secret = zmq.curve_keypair()
        keys |= {_PUBLIC: public.decode(), _SECRET: secret.decode()}
    return keys


def context_of_kernel(shared: zmq.Context[Any]) -> zmq.Context[Any]:
    """The process' context, with a place for what all sockets to one kernel have in common."""
    return zmq.Context.shadow(shared.underlying)


def use(context: zmq.Context[Any], keys: Mapping[str, str]) -> None:
    """Have the sockets that are made of a kernel's context from now on speak to it encrypted."""
    if _PUBLIC not in keys:
        return
    own_public, own_secret = zmq.curve_keypair()
    context.setsockopt(zmq.CURVE_SERVERKEY, keys[_PUBLIC].encode())
    context.setsockopt(zmq.CURVE_PUBLICKEY, own_public)
    context.setsockopt(zmq.CURVE_SECRETKEY, own_secret)
