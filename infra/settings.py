"""Settings of a node: environment variables `RAPPORT_*`, overridden by command-line options."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.checkpoint import ORIGIN
from domain.compliance_policy import GENERAL
from infra.jetstream.access import Access, AccessError, access

CLUSTER_ONLY = (
    "nats_token",
    "nats_credentials",
    "nats_nkey",
    "nats_ca",
    "nats_cert",
    "nats_key",
    "nats_server_name",
    "nats_system_url",
    "nats_system_credentials",
    "nats_system_nkey",
)


class Settings(BaseSettings):
    """Everything a node can be told. The defaults run an embedded node in `./rapport-data`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore")

    data: Path = Field(Path("rapport-data"), description="folder of the node's files")
    nats_port: int | None = Field(None, ge=1, le=65535, description="port of the embedded server; a free one if unset")
    nats_url: SecretStr | None = Field(
        None,
        description="servers to use in place of the embedded one, separated by commas: nats://host:port or "
        "tls://host:port, with user:password@ or token@ before the host",
    )
    nats_token: SecretStr | None = Field(None, description="login by token")
    nats_credentials: Path | None = Field(None, description="login by a .creds file")
    nats_nkey: Path | None = Field(None, description="login by a file with an nkey's seed")
    nats_ca: Path | None = Field(None, description="authorities that the servers' certificates are checked with (PEM)")
    nats_cert: Path | None = Field(None, description="the node's own certificate (PEM)")
    nats_key: Path | None = Field(None, description="its private key (PEM)")
    nats_server_name: str | None = Field(None, description="name in the servers' certificates, if not their host")
    nats_system_url: SecretStr | None = Field(
        None, description="the same servers with a login of their system account, which is asked how they sync"
    )
    nats_system_credentials: Path | None = Field(None, description="the system account's login by a .creds file")
    nats_system_nkey: Path | None = Field(None, description="the system account's login by a file with an nkey's seed")
    nats_sync: Literal["asserted", "unasserted"] = Field(
        "asserted",
        description="asserted: start only when every server says that it syncs before it acknowledges; "
        "unasserted: take their operator's word",
    )
    master_key: SecretStr | None = Field(None, description="base64 or hex; else <data>/master.key, made on first use")
    host: str = Field("127.0.0.1", description="address the HTTP API listens on")
    port: int = Field(8642, ge=0, le=65535, description="port of the HTTP API; 0 takes a free one")
    replicas: int = Field(1, ge=1, le=5, description="replicas of streams and buckets")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    batch_events: int = Field(50_000, ge=1, le=100_000, description="most events applied to the views in one go")
    memory_mb: int = Field(
        8_000, ge=1_000, description="most memory of the process, in 10^6 bytes; a query that wants more is refused"
    )
    views: Path | None = Field(None, description="a folder of views of one's own, each a folder as in projections/")

    policy: Path | None = Field(
        None, description="a compliance policy of one's own; `rapport policy --toml` prints the one to start from"
    )
    jurisdiction: str = Field(
        GENERAL,
        pattern="^[A-Z]{2}$",
        description="whose law people are under of whom none is known, by the policy's code",
    )

    snapshot_every_s: float = Field(
        0.0, ge=0, description="seconds between published snapshots; 0 publishes them on demand only"
    )

    access_log_days: int = Field(
        365,
        ge=1,
        description="days for which the access log keeps who read what; the CNIL recommends six months to a year, and "
        "up to three years for internal control (deliberation 2021-122 of 14 October 2021)",
    )

    checkpoint_every_s: float = Field(
        60.0, ge=0, description="seconds between signed checkpoints of the log; 0 signs them at stop and on demand only"
    )
    signing_key: SecretStr | None = Field(
        None, description="Ed25519 key that checkpoints are signed with, base64 or hex; else <data>/signing.key"
    )
    log_origin: str | None = Field(
        None,
        pattern=f"^{ORIGIN}$",
        description="name of the log in its checkpoints; rapport/<of its first event> if unset",
    )

    @property
    def signing_key_file(self) -> Path:
        """Where the node keeps the key it signs with, if none is set."""
        return self.data / "signing.key"

    @property
    def checkpoints(self) -> Path:
        """The folder of the signed checkpoints."""
        return self.data / "checkpoints"

    @property
    def snapshot_file(self) -> Path:
        """The newest published snapshot."""
        return self.data / "snapshots" / "rapport.duckdb"

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.data / "views.duckdb"

    @property
    def master_key_file(self) -> Path:
        """Where the embedded default keeps its master key."""
        return self.data / "master.key"

    @property
    def tokens_file(self) -> Path:
        """The tokens of the roles."""
        return self.data / "tokens.json"

    @property
    def node_file(self) -> Path:
        """Where a running node says how to reach it."""
        return self.data / "node.json"

    @classmethod
    def embedded(cls, data: Path) -> Self:
        """Those of a node with a server of its own, whatever the environment says of a cluster."""
        return cls(data=data, replicas=1, **dict.fromkeys(("nats_url", *CLUSTER_ONLY)))

    def nats_access(self) -> Access | None:
        """The way to the cluster; None for the embedded server. Raises AccessError."""
        if self.nats_url is None:
            idle = [name for name in CLUSTER_ONLY if getattr(self, name) is not None]
            if idle:
                raise AccessError(f"RAPPORT_{idle[0].upper()} is given, but no cluster by RAPPORT_NATS_URL")
            return None
        return self._access(self.nats_url, self.nats_token, self.nats_credentials, self.nats_nkey, "RAPPORT_NATS_")

    def nats_system_access(self) -> Access | None:
        """The way to the cluster's system account; None when no login for it is given. Raises AccessError."""
        cluster = self.nats_access()
        url, credentials, nkey = self.nats_system_url, self.nats_system_credentials, self.nats_system_nkey
        if cluster is None or (url is None and credentials is None and nkey is None):
            return None
        if url is None:
            url = SecretStr(",".join(cluster.servers))
        return self._access(url, None, credentials, nkey, "RAPPORT_NATS_SYSTEM_")

    def _access(
        self, url: SecretStr, token: SecretStr | None, credentials: Path | None, nkey: Path | None, named: str
    ) -> Access:
        return access(
            url.get_secret_value(),
            token=None if token is None else token.get_secret_value(),
            credentials=credentials,
            nkey=nkey,
            ca=self.nats_ca,
            cert=self.nats_cert,
            key=self.nats_key,
            server_name=self.nats_server_name,
            named=named,
        )
