"""The compliance policy from its file, or the one that comes with Rapport."""

from pathlib import Path

from domain.compliance_policy import Policy, PolicyRefused, default_policy, default_toml


def read(path: Path | None) -> tuple[str, Policy]:
    """The policy in `path`, as TOML and as what it says; without a path the one that comes with Rapport.

    Raises PolicyRefused with file and line.
    """
    if path is None:
        return default_toml(), default_policy()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PolicyRefused(
            f"{path} (RAPPORT_POLICY) cannot be read: {reason}; name a policy, or leave it unset"
        ) from None
    return text, Policy.from_toml(text, str(path))
