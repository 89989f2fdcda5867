"""Settings of a node: environment variables `RAPPORT_*`, overridden by command-line options."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything a node can be told. The defaults run an embedded node in `./rapport-data`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore")

    data: Path = Field(Path("rapport-data"), description="folder of the node's files")
    nats_url: str | None = Field(None, description="cluster to use in place of the embedded nats-server")
    nats_port: int | None = Field(None, ge=1, le=65535, description="port of the embedded server; a free one if unset")
    master_key: SecretStr | None = Field(None, description="base64 or hex; else <data>/master.key, made on first use")
    host: str = Field("127.0.0.1", description="address the HTTP API listens on")
    port: int = Field(8642, ge=0, le=65535, description="port of the HTTP API; 0 takes a free one")
    replicas: int = Field(1, ge=1, le=5, description="replicas of streams and buckets")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    batch_events: int = Field(20_000, ge=1, le=100_000, description="most events applied to the views in one go")

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.data / "views.duckdb"

    @property
    def master_key_file(self) -> Path:
        """Where the embedded default keeps its master key."""
        return self.data / "master.key"

    @property
    def node_file(self) -> Path:
        """Where a running node says how to reach it."""
        return self.data / "node.json"
