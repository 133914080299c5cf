"""The JupyterKernel: its pod, its status, its restarts and its end. Pure."""
