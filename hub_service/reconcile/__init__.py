"""Carries out what the pure modules decide: kernels become pods, gateways Deployments.

Reconciliation is level-based: it looks at what is there and what is wanted, never at which event
brought it here, and may be interrupted at any point and begun again.
"""
