"""The settings an administrator writes, validated once and shared by hub and service.

`elastic_spawner.configure(c, settings)` takes them as a plain mapping (with Zero to JupyterHub:
`custom.elastic` in the values); the service gets the validated model back as JSON through the
environment variable `ELASTIC_SETTINGS`. Unknown keys are errors, so that a typo is told at
start-up and not by its absence.
"""

from hub_service.settings.model import Settings
from hub_service.settings.reading import ENVIRONMENT_VARIABLE, SettingsError, dump, load, parse

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "IDENTITY_FOLDER_VARIABLE",
    "Settings",
    "SettingsError",
    "dump",
    "load",
    "parse",
]

# Where the service keeps its name over restarts, see kube.identity; unset: the temporary folder.
IDENTITY_FOLDER_VARIABLE = "ELASTIC_IDENTITY_FOLDER"
