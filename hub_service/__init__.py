"""The hub-managed service: turns JupyterKernels into pods, admits them, and ends idle ones.

The gateway imports `kinds`, `names`, the pure modules and `kube` from here, in an environment
without jupyterhub and pydantic: this file stays empty of imports.
"""
