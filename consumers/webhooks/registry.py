"""The providers there are: the objects of the modules beside this one, by name. A new module is a new provider.

Of Standard Webhooks there are many senders, each with ids of its own: `standard` is one of them, `standard-NAME` any
other.
"""

import pkgutil
import re
from collections.abc import Iterator, Mapping
from importlib import import_module

from consumers.webhooks.delivery import Provider
from consumers.webhooks.standard import Standard

_SENDER = re.compile(r"standard-[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


class Providers(Mapping[str, Provider]):
    """Those of the modules, which are all that it lists, and any sender of Standard Webhooks that is asked for."""

    def __init__(self, modules: Mapping[str, Provider]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Provider:
        """Raises KeyError."""
        if name not in self._modules and _SENDER.fullmatch(name):
            return Standard(name)
        return self._modules[name]

    def __iter__(self) -> Iterator[str]:
        """The modules' names."""
        return iter(self._modules)

    def __len__(self) -> int:
        """How many modules."""
        return len(self._modules)


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


PROVIDERS = Providers(discover())
