"""Tells the administrator, in the service's log, of limits on the hub's groups that can't be used.

The service's page and API show the same, see `web`.
"""

from __future__ import annotations

import logging

from hub_service.hub.groups import Groups
from hub_service.quotas import limits

log = logging.getLogger(__name__)


class Reports:
    """Each problem is logged when it comes up, not each time that it is seen."""

    def __init__(self) -> None:
        self._known: frozenset[limits.Problem] = frozenset()

    def note(self, groups: Groups) -> None:
        """The groups have changed."""
        present = frozenset(limits.problems(groups.all))
        for problem in sorted(present - self._known):
            log.warning("a limit that doesn't count: %s", problem)
        self._known = present
