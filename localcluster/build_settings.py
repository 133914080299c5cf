"""How this machine reaches package indexes, for the time of a build only.

Handed to builds as secrets, which are files that no layer keeps: the settings of pip and npm
and the machine's certificate authorities. Containerfiles work without any of them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_CA_IN_BUILD = "/run/secrets/ca"
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CA_OF_SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
# Variable of pip → its name in pip.conf. Settings that name files of this machine are left out.
_PIP_SETTINGS = {
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_TRUSTED_HOST": "trusted-host",
    "PIP_DEFAULT_TIMEOUT": "timeout",
    "PIP_PROXY": "proxy",
}
_NPM_SETTINGS = {"npm_config_registry": "registry", "npm_config_proxy": "proxy"}


@contextlib.contextmanager
def build_secrets() -> Iterator[list[str]]:
    """Options for `buildah build`; the files are gone afterwards."""
    ca = _certificate_authorities()
    pip = ["[global]", "disable-pip-version-check = true", "root-user-action = ignore"]
    pip += [f"{name} = {value}" for name, value in _set(_PIP_SETTINGS)]
    npm = [f"{name}={value}" for name, value in _set(_NPM_SETTINGS)]
    if ca:
        pip.append(f"cert = {_CA_IN_BUILD}")
        npm.append(f"cafile={_CA_IN_BUILD}")
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--secret=id=ca,src={ca}"] if ca else []
        for name, lines in (("pip", pip), ("npm", npm)):
            path = Path(folder) / name
            path.write_text("\n".join(lines) + "\n")
            options.append(f"--secret=id={name},src={path}")
        yield options


def _certificate_authorities() -> Path | None:
    named = [Path(os.environ[name]) for name in _CA_VARIABLES if os.environ.get(name)]
    return next((path for path in [*named, _CA_OF_SYSTEM] if path.is_file()), None)


def _set(variables: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, os.environ[key]) for key, name in variables.items() if os.environ.get(key)]
