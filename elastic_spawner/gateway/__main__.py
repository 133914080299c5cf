"""`python -m elastic_spawner.gateway`: what the gateway's container runs."""

from __future__ import annotations

import sys

from elastic_spawner.gateway.app import ElasticGatewayApp
from elastic_spawner.gateway.settings import SettingsError


def main() -> None:
    """Run the gateway until SIGTERM; exit status 2 when its environment can't be used."""
    try:
        ElasticGatewayApp.launch_instance()
    except SettingsError as error:
        sys.exit(f"elastic_spawner.gateway: {error}")


if __name__ == "__main__":
    main()
