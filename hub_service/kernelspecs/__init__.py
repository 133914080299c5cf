"""The JupyterKernelSpec: which kernels there are, for whom, with which parameters. Pure."""
