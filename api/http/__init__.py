"""HTTP `/v1`: JSON in and out, RFC 9457 problem documents for everything that is refused."""

from api.http.app import create_app

__all__ = ["create_app"]
