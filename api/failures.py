"""Why a node cannot start or answer, and why a file is not taken."""


class NodeError(Exception):
    """The node cannot start; one sentence with the way out."""


class ViewsBehind(Exception):
    """The views did not reach the ledger position asked for in time."""


class FileRefused(Exception):
    """A file as a whole cannot be read, or written; one sentence."""


class LedgerLost(NodeError):
    """Of what the views saw in the ledger, or of the keys to it, something is not there any more."""
