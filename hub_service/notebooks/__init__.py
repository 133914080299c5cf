"""The JupyterNotebook, and what a notebook server is told of its gateway."""
