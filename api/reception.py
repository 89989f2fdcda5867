"""What stands behind the door for webhooks: whose are taken, and how one comes to lie in the queue."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

from eventsourcing.persistence import OperationalError

from consumers.webhooks.delivery import Answered, Asking, ProvedByToken, Provider
from consumers.webhooks.registry import PROVIDERS
from infra.ingest import Inlet
from infra.ingest_seals import Taken
from infra.jetstream import Connection
from infra.webhook_secrets import WebhookSecrets

ACCEPTED = 202
SEALERS = 4
"""Threads that seal, of nobody else: a delivery must not wait for what others do on theirs."""
SHORT_BYTES = 64 * 1024
"""Up to here verifying and sealing are done where a delivery arrives, and not handed to a thread."""


class Counted(Protocol):
    """Where it is noted what came of deliveries."""

    def note(self, provider: str, outcome: str, count: int = 1) -> None:
        """So many more of this outcome."""


class Ways(NamedTuple):
    """How deliveries of a provider are treated; found out once, which takes longer than to seal a delivery."""

    by_token: ProvedByToken | None
    asks: bool
    answer: int

    @classmethod
    def of(cls, provider: Provider) -> Self:
        """By what else the provider's object promises."""
        return cls(
            provider if isinstance(provider, ProvedByToken) else None,
            isinstance(provider, Asking),
            provider.answer if isinstance(provider, Answered) else ACCEPTED,
        )


class Reception:
    """Takes deliveries, for one HTTP server, and puts them into `inlet`."""

    def __init__(
        self,
        connection: Connection,
        inlet: Inlet,
        secrets: WebhookSecrets,
        counted: Counted,
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        self.providers = providers
        self._ways: dict[str, Ways] = {}
        self.secrets = secrets
        self.counted = counted
        self.at_once = 0
        """Deliveries at the door; counted on the loop of the HTTP server alone."""
        self._connection = connection
        self._inlet = inlet
        self._sealing = ThreadPoolExecutor(SEALERS, "rapport-sealing")

    def way_of(self, provider: Provider) -> Ways:
        """How its deliveries are treated."""
        found = self._ways.get(provider.name)
        if found is None:
            found = self._ways[provider.name] = Ways.of(provider)
        return found

    def close(self) -> None:
        """Ends its threads. Safe to call twice."""
        self._sealing.shutdown()

    async def take(self, taken: Taken) -> None:
        """Returns when the delivery is on the server's disk. For any event loop. Raises OperationalError, DataError."""
        sealed = self._inlet.sealed_at_hand(taken) if len(taken.body) <= SHORT_BYTES else None
        if sealed is None:
            sealed = await self._on_a_thread(partial(self._inlet.sealed, taken))
        await self._on_connection(self._inlet.store(taken.provider, sealed))

    async def is_used(self, provider: str, token: str, happening: str) -> bool:
        """As `Inlet.is_used`, for any event loop."""
        return bool(await self._on_connection(self._inlet.is_used(provider, token, happening)))

    async def _on_a_thread(self, seal: Callable[[], bytes]) -> bytes:
        try:
            sealing = asyncio.get_running_loop().run_in_executor(self._sealing, seal)
        except RuntimeError:
            raise OperationalError("the node is stopping") from None
        return await sealing

    async def _on_connection(self, coroutine: Any) -> Any:
        if asyncio.get_running_loop() is self._connection.loop:
            return await coroutine
        try:
            running = asyncio.run_coroutine_threadsafe(coroutine, self._connection.loop)
        except RuntimeError:
            coroutine.close()
            raise OperationalError("the connection to NATS is closed") from None
        return await asyncio.wrap_future(running)
