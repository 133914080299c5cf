"""The programs of the node: their configuration files and command lines."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path

from localcluster.layout import NODE_NAME, Cluster

PAUSE_IMAGE = "elastic/pause:local"


@dataclass(frozen=True)
class Component:
    """A program that runs as long as the cluster does."""

    name: str
    arguments: list[str]


def first_objects(cluster: Cluster) -> str:
    """The Kubernetes objects that a cluster starts with, as YAML."""
    template = string.Template((Path(__file__).parent / "objects.yaml").read_text())
    return template.substitute(
        dns=cluster.dns, node_address=cluster.node_address, node_name=NODE_NAME
    )


def containerd(cluster: Cluster, cni: Path, *, pods: bool) -> Component:
    """Containerd; without `pods` only its stores, to put in order what a crash left there."""
    config = cluster.run / f"containerd-{'pods' if pods else 'stores'}.toml"
    plugin = "io.containerd.grpc.v1.cri"
    disabled = "[]" if pods else f'["{plugin}"]'
    config.write_text(f"""\
version = 2
root = "{cluster.images}"
state = "/run/containerd"
disabled_plugins = {disabled}
[grpc]
  address = "{cluster.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[plugins."{plugin}"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
  [plugins."{plugin}".cni]
    bin_dir = "{cni}"
    conf_dir = "{cluster.run}/cni"
  [plugins."{plugin}".containerd]
    snapshotter = "overlayfs"
""")
    return Component("containerd", ["containerd", "--config", str(config)])


def write_pod_network(cluster: Cluster) -> None:
    """The CNI configuration: a bridge that holds the pods, inside the node's namespace."""
    folder = cluster.run / "cni"
    folder.mkdir(exist_ok=True)
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": cluster.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}
    (folder / "10-pods.conflist").write_text(json.dumps(network))


def storage(cluster: Cluster, program: str) -> Component:
    """Etcd. Without fsync: a cluster that crashed starts empty, so nothing is lost."""
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return Component("etcd", [
        program, "etcd", "--data-dir", str(cluster.run / "etcd"), "--unsafe-no-fsync",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--log-level", "warn",
    ])  # fmt: skip


def api_server(cluster: Cluster, program: str) -> Component:
    """The API server, on the node's address, port 6443."""
    pki = cluster.run / "pki"
    return Component("kube-apiserver", [
        program, "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        f"--advertise-address={cluster.node_address}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={cluster.service_cidr}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
    ])  # fmt: skip


def after_api_server(
    cluster: Cluster, program: str, *, gpus: int, bridge_filter: bool
) -> list[Component]:
    """Everything that needs the API server.

    `bridge_filter`: the kernel shows bridged packets to iptables. Without it the answer of a pod
    that was reached through a service must be led back by masquerading.
    """
    pki, run = cluster.run / "pki", cluster.run
    _write_kubelet_config(cluster)
    (run / "Corefile").write_text(f"""\
.:53 {{
    bind {cluster.node_address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {pki}/coredns.kubeconfig {cluster.name}
        ttl 1
    }}
}}
""")
    return [
        Component("kube-controller-manager", [
            program, "kube-controller-manager",
            f"--kubeconfig={pki}/controller-manager.kubeconfig",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            # the default of 20 requests a second makes its start alone last five seconds
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]),
        Component("kube-scheduler", [
            program, "kube-scheduler",
            f"--kubeconfig={pki}/scheduler.kubeconfig",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]),
        Component("kubelet", [
            program, "kubelet",
            f"--config={run}/kubelet.json",
            f"--kubeconfig={pki}/node.kubeconfig",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={cluster.node_address}",
        ]),
        Component("kube-proxy", [
            program, "kube-proxy",
            f"--kubeconfig={pki}/proxy.kubeconfig",
            f"--hostname-override={NODE_NAME}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={cluster.pod_cidr}",
            f"--masquerade-all={'false' if bridge_filter else 'true'}",
            "--conntrack-max-per-core=0",
        ]),
        Component("coredns", [program, "coredns", "-conf", f"{run}/Corefile"]),
        Component("volumes", [
            program, "volumes",
            "--kubeconfig", f"{pki}/volumes.kubeconfig",
            "--dir", f"{run}/volumes",
            "--node", NODE_NAME,
        ]),
        Component("gpus", [program, "gpus", "--count", str(gpus)]),
    ]  # fmt: skip


def _write_kubelet_config(cluster: Cluster) -> None:
    pki = cluster.run / "pki"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        "clusterDNS": [cluster.dns],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "1s",  # how soon the node offers its GPUs
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "serializeImagePulls": False,
        # A program that crashes is tried again soon, however often it did.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        # Images can't be fetched again where no registry is reachable: never remove them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%",
        },
    }  # fmt: skip
    (cluster.run / "kubelet.json").write_text(json.dumps(config, indent=1))
