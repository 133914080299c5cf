"""A real one-node Kubernetes for people who have none, to try the project and to test it.

It is a means, not part of the product: nothing outside this folder imports it but tests.
"""
