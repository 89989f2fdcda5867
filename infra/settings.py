"""Settings of a node: environment variables `RAPPORT_*`, overridden by command-line options."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.checkpoint import ORIGIN
from domain.compliance_policy import GENERAL

if TYPE_CHECKING:
    from infra.jetstream.access import Access

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

PORT = 8642
ROLES = ("analyst", "recruiter", "compliance", "service", "admin")


def is_safe_url(url: str) -> bool:
    """Whether what comes from there can be trusted to be from there: https, or this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"))
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
    port: int = Field(PORT, ge=0, le=65535, description="port of the HTTP API; 0 takes a free one")
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
    webhooks: Path | None = Field(
        None, description="providers' webhooks that are taken, with their secrets; else <data>/webhooks.toml"
    )
    dead_letter_days: int = Field(
        30, ge=1, le=366, description="days for which webhook deliveries are kept that could not be recorded"
    )

    feed_days: int = Field(
        30, ge=0, description="days for which published messages are kept on the feed; 0 keeps them for ever"
    )
    feed_bands_every_s: float = Field(
        60.0, ge=1, description="seconds between looks at whose engagement went into another band, for the feed"
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="where subscribers of the feed reach a node: messages name their schemas by it; this machine's own "
        "address if unset",
    )

    signing_key: SecretStr | None = Field(
        None, description="Ed25519 key that checkpoints are signed with, base64 or hex; else <data>/signing.key"
    )
    log_origin: str | None = Field(
        None,
        pattern=f"^{ORIGIN}$",
        description="name of the log in its checkpoints; rapport/<of its first event> if unset",
    )

    role: Literal["analyst", "recruiter", "compliance", "service", "admin"] = Field(
        "admin", description="the role in which the command line asks, by its token in the data folder"
    )
    oidc_issuer: str | None = Field(
        None,
        description="identity provider (OpenID Connect) whose tokens count beside the roles' own; an https address",
    )
    oidc_audience: str | None = Field(None, validate_default=True, description="the audience its tokens must be for")
    oidc_jwks_url: str | None = Field(None, description="where its keys are; by its discovery document if unset")
    oidc_roles_claim: str = Field(
        "roles", min_length=1, description="the claim with its bearer's roles; a dot goes deeper"
    )
    oidc_roles: str = Field(
        "", description="which of its values is which role: crm-officers=compliance,crm-all=recruiter; by name if unset"
    )
    oidc_leeway_s: float = Field(30.0, ge=0, le=300, description="by so much its clock may differ from ours")

    rate_per_s: float = Field(
        1_000.0, ge=0, description="requests a second of one caller, by token; more are answered 429; 0 sets no limit"
    )
    rate_burst: int = Field(5_000, ge=1, description="requests that a caller may send at once")
    refused_per_s: float = Field(
        5.0, ge=0, description="requests a second without a token that counts, by address; 0 sets no limit"
    )
    refused_burst: int = Field(500, ge=1, description="such requests that an address may send at once")

    max_behind_events: int = Field(
        2_000_000,
        ge=0,
        description="so far behind the ledger may the views be before recording waits, and the node is not ready; "
        "0: any",
    )
    min_free_mb: int = Field(
        500, ge=0, description="with less free on the data folder's disk, in 10^6 bytes, the node is not ready; 0: any"
    )

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None and not is_safe_url(url):
            raise ValueError("write an https:// address; http:// is for this machine's own only")
        return url

    @field_validator("oidc_audience")
    @classmethod
    def _comes_with_issuer(cls, audience: str | None, given: ValidationInfo) -> str | None:
        if (given.data.get("oidc_issuer") is None) != (not audience):
            raise ValueError("RAPPORT_OIDC_ISSUER and RAPPORT_OIDC_AUDIENCE are given together")
        return audience

    @field_validator("oidc_roles")
    @classmethod
    def _are_roles(cls, text: str) -> str:
        if text and not all(re.fullmatch(rf"[^=,]+=({'|'.join(ROLES)})", part.strip()) for part in text.split(",")):
            raise ValueError(f"write value=role, separated by commas; roles are {', '.join(ROLES)}")
        return text

    @property
    def oidc_role_of(self) -> dict[str, str]:
        """Our role for each value of the provider's."""
        parts = (part.strip().partition("=") for part in self.oidc_roles.split(","))
        return {value: role for value, _, role in parts} if self.oidc_roles else {role: role for role in ROLES}

    @property
    def feed_url(self) -> str:
        """By what the feed names itself: the same after every start, so not by a port that just happens to be free."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        named = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{named}:{self.port or PORT}"

    @property
    def webhooks_file(self) -> Path:
        """Which webhooks are taken."""
        return self.webhooks or self.data / "webhooks.toml"

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

    def nats_access(self) -> "Access | None":
        """The way to the cluster; None for the embedded server. Raises AccessError."""
        from infra.jetstream.access import AccessError  # noqa: PLC0415 - commands have settings, and need no NATS

        if self.nats_url is None:
            idle = [name for name in CLUSTER_ONLY if getattr(self, name) is not None]
            if idle:
                raise AccessError(f"RAPPORT_{idle[0].upper()} is given, but no cluster by RAPPORT_NATS_URL")
            return None
        return self._access(self.nats_url, self.nats_token, self.nats_credentials, self.nats_nkey, "RAPPORT_NATS_")

    def nats_system_access(self) -> "Access | None":
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
    ) -> "Access":
        from infra.jetstream.access import access  # noqa: PLC0415

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
