"""Controllers, put together: what each kind's needs, and which changes it follows.

`leading` has those of kernels, and runs them all. What a controller does is in reconcile/.
"""

from hub_service.controllers.leading import Controllers

__all__ = ["Controllers"]
