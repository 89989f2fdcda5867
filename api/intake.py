"""Webhooks of one node: the queue they wait in, the consumer, what is kept of them and for how long."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from eventsourcing.persistence import OperationalError

from api.reception import Reception
from consumers.ingest import Ingest
from consumers.settling import Settling
from consumers.webhooks.delivery import Provider
from consumers.webhooks.registry import PROVIDERS
from infra.crypto.master import KeysMissing, MasterKey
from infra.ingest import Queue
from infra.ingest_letters import Letters
from infra.ingest_seals import DayKey, Seals
from infra.jetstream import Connection
from infra.jetstream.access import Access
from infra.metrics import Deliveries
from infra.recording import Recording
from infra.settings import Settings
from infra.webhook_secrets import WebhookSecrets

SWEEP_EVERY_S = 3_600.0
LEND_EVERY_S = 60.0

log = structlog.get_logger()


class Intake:
    """Starts with its streams declared; `start` consumes. `trouble` as for `Settling`. Whoever else seals deliveries is
    told of the key of the day by `lend`, every minute."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        servers: Access,
        master: MasterKey,
        recording: Recording,
        trouble: tuple[type[Exception], ...] = (),
        providers: Mapping[str, Provider] = PROVIDERS,
        lend: Callable[[DayKey], object] = lambda _: None,
    ) -> None:
        self.providers = providers
        self.secrets = WebhookSecrets(settings.webhooks_file)
        self.counted = Deliveries()
        self._seals = Seals(connection, master, settings.replicas)
        self.queue = Queue(connection, self._seals, settings.replicas)
        self.letters = Letters(connection, self._seals, settings.dead_letter_days, settings.replicas)
        self._settling = Settling(self.queue, self.letters, recording, providers, self.counted, trouble)
        self._ingest = Ingest(servers, self.queue, self._settling.settle)
        self.reception = Reception(connection, self.queue.inlet, self.secrets, self.counted, providers)
        self._lend = lend
        self._keyless: str | None = None
        self._over = threading.Event()
        self._keys = threading.Thread(target=self._mind_keys, name="rapport-ingest-keys", daemon=True)

    def start(self) -> None:
        """Begins to record what waits."""
        self._ingest.start()
        self._keys.start()

    def stop(self) -> None:
        """Finishes what is being recorded; the rest waits in the queue. Safe to call twice."""
        self._over.set()
        self._ingest.stop()
        self.reception.close()
        if self._keys.is_alive():
            self._keys.join()

    def retry(self, seq: int) -> bool:
        """Puts a letter back into the queue; False when there is none there, or none that can be opened. What could not
        be opened when it came from the queue goes back as it lay there. Raises OperationalError.

        A crash before the letter is dropped leaves both: what is recorded already is a duplicate then.
        """
        letter = self.letters.get(seq)
        if letter is None or letter.taken is None:
            return False
        if letter.closed:
            self.queue.put_sealed(letter.provider, letter.taken.body)
        else:
            self.queue.put(letter.taken)
        self.letters.drop([seq])
        return True

    @property
    def failure(self) -> str | None:
        """What keeps deliveries from being taken or recorded; None when nothing does."""
        if (failure := self._ingest.failure or self._settling.failure) is not None:
            return f"webhook deliveries wait: {failure}"
        self.secrets.all()  # looks whether the file has changed; the door has an eye of its own on it
        return self.secrets.failure

    def sweep(self) -> int:
        """Destroys the keys of days of which nothing is left; how many. Raises OperationalError."""
        self._seals.clock.look()
        queue, dead = self.queue.keys_needed_from(), self.letters.keys_needed_from()
        needed = {"queue": queue, "own": queue, "dead": dead}
        return sum(self._seals.destroy_before(purpose, day) for purpose, day in needed.items())

    def key_of_today_if_any(self) -> DayKey | None:
        """What deliveries are sealed under now, by the server's clock as it is now; None when that cannot be had, as
        without the master key."""
        try:
            self._seals.clock.look()
            return self._seals.key_of_today("queue")
        except KeysMissing:  # which is told of everywhere
            return None
        except OperationalError as error:
            if (reason := str(error)) != self._keyless:
                log.warning("the key of the day cannot be had, trying again", reason=reason)
            self._keyless = reason
            return None

    def _mind_keys(self) -> None:
        swept_s: float | None = None
        while True:
            what = "the door is not told of the key of the day, trying again"
            try:
                if (key := self.key_of_today_if_any()) is not None:
                    self._lend(key)
                what = "keys of past days not destroyed, trying again"
                if swept_s is None or time.monotonic() - swept_s >= SWEEP_EVERY_S:
                    self.sweep()
                    swept_s = time.monotonic()
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; there is time to try again
                log.warning(what, reason=str(error) if isinstance(error, OperationalError) else type(error).__name__)
            if self._over.wait(LEND_EVERY_S):
                return

    def status(self) -> dict[str, Any]:
        """What `rapport status` shows. Raises OperationalError."""
        depth = self.queue.depth()
        return {
            "providers": sorted(self.secrets.all()),
            "waiting": depth.messages,
            "oldest_s": depth.oldest_s,
            "dead_letters": self.letters.count(),
            "unknown_kinds": self.letters.count_of_kinds(),
            "since_start": self.counted.totals(),
            "failure": self.failure,
        }
