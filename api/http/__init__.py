"""HTTP `/v1`: JSON in and out, RFC 9457 problem documents for everything that is refused."""
