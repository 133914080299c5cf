"""Kueue itself, built from its sources as a Go module, beside the cluster of KUBECONFIG.

Its manager runs on this machine, as Kueue's administrator; the API server calls its webhook here.
That asks for a cluster whose API server reaches this machine by the address it is reached from, as
a local one does. Only its part for plain pods is switched on, in one namespace.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.install import kubectl
from hub_service.kinds import Object, Resource
from hub_service.kube import ApiError, Cluster
from localcluster.layout import cache_folder
from localcluster.program import find_go

MODULE = "sigs.k8s.io/kueue"
WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
)
_PORT, _HEALTH_PORT = 19443, 18081
_READY_WITHIN = 60.0
_METRICS = Path("/etc/kueue/metrics/certs")


def sources(version: str) -> Path:
    """The folder with Kueue's sources, from the Go modules' proxy."""
    command = [find_go(), "mod", "download", "-json", f"{MODULE}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    return Path(json.loads(done.stdout)["Dir"])


def manager(version: str) -> Path:
    """Kueue's manager, built unless it was before: some minutes on two cores."""
    built = cache_folder() / f"kueue-{version}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        subprocess.run(
            [find_go(), "build", "-trimpath", "-o", str(built), "./cmd/kueue"],
            cwd=sources(version),
            env=environment,
            check=True,
        )
    return built


@asynccontextmanager
async def running(
    cluster: Cluster, version: str, namespace: str, folder: Path
) -> AsyncIterator[None]:
    """Kueue for the pods of that namespace; its log is in `folder`."""
    definitions = sources(version) / "config" / "components" / "crd" / "bases"
    kubectl("apply", "--server-side", "-f", str(definitions))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(definitions))
    address = _address_of_this_machine()
    authority = _certificates(folder, address)
    configuration = folder / "configuration.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(folder, namespace)))
    program = await asyncio.to_thread(manager, version)
    with _certificates_of_metrics(folder), (folder / "kueue.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--config={configuration}",
            "--feature-gates=VisibilityOnDemand=false",
            f"--kubeconfig={os.environ['KUBECONFIG']}",
            stdout=log,
            stderr=log,
        )
        try:
            await _until_ready(process, folder / "kueue.log")
            await cluster.create(WEBHOOKS, None, _webhook(address, authority, namespace))
            yield
        finally:
            try:
                await cluster.delete(WEBHOOKS, None, f"kueue-{namespace}")
            except ApiError as error:
                if error.status != 404:
                    raise
            if process.returncode is None:
                process.terminate()
                await process.wait()


@contextmanager
def _certificates_of_metrics(folder: Path) -> Iterator[None]:
    """It does not start without, though it serves no metrics here; where it looks is fixed."""
    _METRICS.parent.mkdir(parents=True)
    try:
        _METRICS.symlink_to(folder)
        yield
    finally:
        _METRICS.unlink()
        for made in (_METRICS.parent, _METRICS.parent.parent):
            made.rmdir()


def _address_of_this_machine() -> str:
    server = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())["clusters"][0]["cluster"]
    host = urlsplit(server["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host.hostname, host.port or 443))
        return str(probe.getsockname()[0])


def _configuration(folder: Path, namespace: str) -> Object:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta1",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{_HEALTH_PORT}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": _PORT, "certDir": str(folder)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["pod"]},
        "managedJobsNamespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }


def _webhook(address: str, authority: bytes, namespace: str) -> Object:
    return {
        "metadata": {"name": f"kueue-{namespace}"},
        "webhooks": [
            {
                "name": "mpod.kb.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "url": f"https://{address}:{_PORT}/mutate--v1-pod",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ],
            }
        ],
    }


def _certificates(folder: Path, address: str) -> bytes:
    """A certificate for that address and its key, as the manager looks for them; the authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kueue")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate


async def _until_ready(process: asyncio.subprocess.Process, log: Path) -> None:
    """Once its webhook's port takes connections."""
    async with asyncio.timeout(_READY_WITHIN):
        while True:
            if process.returncode is not None:
                said = await asyncio.to_thread(log.read_text)
                raise AssertionError(f"Kueue ended:\n{said[-3000:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", _PORT)
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
