"""`python -m elastic_spawner.gateway`: what the gateway's container runs."""

from __future__ import annotations

import sys

from elastic_spawner.gateway.app import ElasticGatewayApp
from elastic_spawner.gateway.settings import SettingsError


def main() -> None:
    """Run the gateway until SIGTERM; an environment that can't be used is told in one line."""
    try:
        ElasticGatewayApp.launch_instance()
    except SettingsError as error:
        sys.exit(f"elastic_spawner.gateway: {error}")


if __name__ == "__main__":
    main()
