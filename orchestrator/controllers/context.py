"""What every controller is handed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.client.backoff import RandomSource
from orchestrator.client.event_recorder import EventRecorder
from orchestrator.client.informer import InformerFactory
from orchestrator.client.rest_client import RestClient


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """The shared client and caches, and the edge's clock and chance."""

    client: RestClient
    informers: InformerFactory
    recorder: EventRecorder
    clock: Callable[[], datetime]
    """The time of day, with its zone."""
    random: RandomSource
