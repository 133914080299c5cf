"""GPU-seconds that kernels held, used and gave back, by day, user and kernel spec.

What happens to pods and servers (`holdings`) is booked (`books`); the books are kept in the cluster
(`document`), told to people (`report`) and to Prometheus (`figures`). reconcile/ledger.py does the
reading and writing.
"""
