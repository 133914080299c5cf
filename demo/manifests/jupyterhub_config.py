"""The demo's hub. A real one is configured by Zero to JupyterHub's values."""

import os
from pathlib import Path

import yaml

from elastic_spawner import configure

c = get_config()  # noqa: F821

c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/srv/jupyterhub/cookie_secret"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"

# One password for everybody: good for a demo on one's own machine, for nothing else.
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["DEMO_PASSWORD"]
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"admin"}

here = Path(__file__).parent
demo = yaml.safe_load((here / "demo.yaml").read_text())
c.KubeSpawner.image = demo["notebookImage"]
c.KubeSpawner.image_pull_policy = demo["pullPolicy"]
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.default_url = "/lab"
# A loaded machine takes longer than the hub waits by default.
c.KubeSpawner.start_timeout = 180
c.KubeSpawner.http_timeout = 120
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_capacity = "1Gi"
c.KubeSpawner.pvc_name_template = "home-{user_server}"
c.KubeSpawner.volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
c.KubeSpawner.volume_mounts = [{"name": "home", "mountPath": "/home/jovyan"}]
c.KubeSpawner.fs_gid = 100
c.KubeSpawner.cpu_guarantee = 0.1
c.KubeSpawner.mem_guarantee = "192M"
c.KubeSpawner.allow_privilege_escalation = False
c.JupyterHub.allow_named_servers = True

configure(c, yaml.safe_load((here / "settings.yaml").read_text()))
