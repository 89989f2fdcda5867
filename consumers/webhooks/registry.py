"""The providers there are: the objects of the modules beside this one, by name. A new module is a new provider."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from consumers.webhooks.delivery import Provider


def discover(package: str = __package__) -> Mapping[str, Provider]:
    """Every provider by its name. Raises ValueError when two share one."""
    found: dict[str, Provider] = {}
    for module in pkgutil.iter_modules(import_module(package).__path__):
        for thing in vars(import_module(f"{package}.{module.name}")).values():
            if isinstance(thing, type) or not isinstance(thing, Provider) or any(thing is p for p in found.values()):
                continue
            if thing.name in found:
                raise ValueError(f"two modules of {package} read what {thing.name} sends")
            found[thing.name] = thing
    return found


PROVIDERS = discover()
