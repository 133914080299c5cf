"""The demo: a hub with elastic kernels on a cluster, and a tour that uses it like a person."""
