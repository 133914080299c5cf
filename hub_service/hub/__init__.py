"""JupyterHub: its API, its groups and its servers."""
