"""The system call table: which tools there are, and whether a call fits its tool.

Knows neither how a call is run nor who makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from llmos_kernel.abi import Driver, JsonObject, ToolSpec
from llmos_kernel.errors import ConfigError, RetryCall


@dataclass(frozen=True, slots=True)
class OwnedDriver:
    """A driver and who brought it, for messages: a package, a file, a caller."""

    driver: Driver
    owner: str


class SyscallTable:
    """Tools by name, in the stable order in which the model reads them."""

    def __init__(self, drivers: Iterable[OwnedDriver]) -> None:
        """Check and take over the drivers.

        Raises:
            ConfigError: two tools have one name, or a schema is not valid.
        """
        self._owners: dict[str, str] = {}
        self._drivers: dict[str, Driver] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        for owned in drivers:
            self._add(owned.driver, owned.owner)
        self.specs: tuple[ToolSpec, ...] = tuple(
            self._drivers[name].spec for name in sorted(self._drivers)
        )

    def _add(self, driver: Driver, owner: str) -> None:
        name = driver.spec.name
        if name in self._drivers:
            raise ConfigError(
                f"two tools are called {name!r}: one from {self._owners[name]}, "
                f"one from {owner}; rename or remove one"
            )
        try:
            Draft202012Validator.check_schema(dict(driver.spec.parameters))
        except SchemaError as error:
            raise ConfigError(
                f"the tool {name!r} from {owner} has an invalid schema: {error.message}"
            ) from error
        self._owners[name] = owner
        self._drivers[name] = driver
        self._validators[name] = Draft202012Validator(dict(driver.spec.parameters))

    def extended(self, drivers: Iterable[Driver], owner: str) -> SyscallTable:
        """Return a table of these tools and more, which takes over the drivers of this one.

        Raises:
            ConfigError: two tools have one name.
        """
        own = [OwnedDriver(driver, self._owners[name]) for name, driver in self._drivers.items()]
        return SyscallTable([*own, *(OwnedDriver(driver, owner) for driver in drivers)])

    def owner(self, name: str) -> str:
        return self._owners[name]

    def find(self, name: str) -> Driver | None:
        """Return the driver of a tool, where there is one."""
        return self._drivers.get(name)

    def granted(self, tools: frozenset[str] | None) -> tuple[ToolSpec, ...]:
        """Return the specifications of these tools, or of all."""
        if tools is None:
            return self.specs
        return tuple(spec for spec in self.specs if spec.name in tools)

    def check(
        self, name: str, arguments: JsonObject, *, granted: frozenset[str] | None = None
    ) -> Driver:
        """Return the driver that a call is meant for.

        Raises:
            RetryCall: there is no such tool among the granted ones (None: all), or the arguments
                do not fit its schema.
        """
        if name not in self._drivers or (granted is not None and name not in granted):
            names = ", ".join(spec.name for spec in self.granted(granted)) or "none"
            raise RetryCall(f"there is no tool {name!r}; the tools are {names}")
        problem = best_match(self._validators[name].iter_errors(dict(arguments)))
        if problem is not None:
            where = ".".join(str(part) for part in problem.absolute_path)
            raise RetryCall(f"{name}: {f'{where}: ' if where else ''}{problem.message}")
        return self._drivers[name]

    async def close(self) -> None:
        for driver in self._drivers.values():
            await driver.close()
