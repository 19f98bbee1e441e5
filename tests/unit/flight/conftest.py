"""A fixture that starts services and stops them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dexflight import (
    FlightService,
)
from tests.unit.flight.books import KEY, Books, Start


@pytest.fixture
def start() -> Iterator[Start]:
    services = []

    def start_one(source: Any = None, **options: Any) -> FlightService:
        options = {"network_id": "test", "ticket_key": KEY, "port": 0, **options}
        services.append(FlightService(source or Books(), **options))
        return services[-1]

    yield start_one
    for service in services:
        service.stop(0)
