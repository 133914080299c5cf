"""The Secret of a JupyterNotebook: what lets people into it, and what lets it into its gateway.

Pure; values are in base64, as in a Secret's `data`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from hub_service.kinds import Object, name_of, spec_of

# Keys of the notebook's Secret.
TOKEN = "token"  # noqa: S105 - a name
GATEWAY_TOKEN = "gatewayToken"  # noqa: S105 - a name
CONFIG = "jupyter_server_config.json"

# Where the Secret's CONFIG is mounted; jupyter_server looks for a file of that name there.
CONFIG_DIRECTORY = "/run/elastic-notebook"


def secret_name(notebook: Object) -> str:
    """The name of the Secret with the notebook's tokens."""
    return f"{name_of(notebook)}-tokens"


def token_hash(token: str) -> str:
    """What a gateway knows a token by: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def secret_data(notebook: Object, present: Mapping[str, str], fresh: str, other: str) -> Object:
    """The content of a notebook's Secret, as its `data` is: values in base64.

    `present` is the `data` that is there: tokens that were made up once stay. `fresh` and `other`
    are two random texts for those that weren't yet.
    """
    data = {GATEWAY_TOKEN: present.get(GATEWAY_TOKEN) or _encoded(fresh)}
    auth: Object = spec_of(notebook).get("auth") or {}
    token, password = auth.get("token") or "", auth.get("password") or ""
    if auth.get("mode") == "disable":
        token = password = ""
    elif token:
        data[TOKEN] = _encoded(token)
    elif not password:
        data[TOKEN] = present.get(TOKEN) or _encoded(other)
        token = decoded(data[TOKEN])
    # An empty token and no password is how jupyter_server is told to let everybody in.
    config = {
        "IdentityProvider": {"token": token},
        "PasswordIdentityProvider": {"hashed_password": password},
    }
    data[CONFIG] = _encoded(json.dumps(config))
    return data


def decoded(value: str) -> str:
    """The text of a value of a Secret's data."""
    return base64.b64decode(value).decode()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
