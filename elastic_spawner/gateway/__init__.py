"""The gateway between notebooks and kernels: Enterprise Gateway, run by our subclass of its app.

A notebook server sends it kernel requests over HTTP and websockets. It makes a JupyterKernel for
each kernel, waits until the hub service has given it a pod and the pod answers on ZeroMQ, and
passes messages between the two. It reports what each kernel does and seals the idle ones when the
service asks, so that a kernel is never culled under a cell that has just been started.
"""
