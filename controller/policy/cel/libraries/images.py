"""`image`: what its configurations say, of all platforms at once. Bound by the image's digest, signed by nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from controller.errors import AssayError, Unacceptable
from controller.model.image import ImageConfig, ImageConfigs
from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.provenances import present
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import Library
from controller.policy.cel.schema import DURATION, IMAGE
from controller.policy.cel.values import register_class, register_record, to_cel

LIBRARY = Library("images", "Functions of `image`.")

_ABSENT = object()


class ImageValue(dict[str, Any]):
    """The image that a rule reads. What its configurations say is looked at when it is read, or asked for by `has`."""

    def __init__(self, plain: Mapping[str, Any], configs: ImageConfigs, now: datetime) -> None:
        super().__init__(plain)
        self._configs = configs
        self.now = now

    def __contains__(self, name: object) -> bool:
        if name in _CONFIGURED:
            return _CONFIGURED[str(name)](self.configs()) is not _ABSENT
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        return _CONFIGURED[name](self.configs()) if name in _CONFIGURED else super().__getitem__(name)

    def configs(self) -> tuple[ImageConfig, ...]:
        """One for each platform; never empty. Raises `Abort` where they could not be had or read."""
        if isinstance(self._configs, AssayError):
            raise Abort(type(self._configs)(*self._configs.args))  # remembered, and raised for every request
        if not self._configs:
            raise Abort(Unacceptable("ConfigsMissing", "the configurations of the image were not read"))
        return self._configs


def _by_platform(configs: tuple[ImageConfig, ...]) -> dict[str, ImageConfig]:
    found: dict[str, ImageConfig] = {}
    for config in configs:
        name = config.platform if config.platform not in found else f"{config.platform}@{config.digest}"
        found[name] = config
    return found


def _agreed(what: str, read: Callable[[ImageConfig], Any]) -> Callable[[tuple[ImageConfig, ...]], Any]:
    """What all platforms say alike; an Error where they do not, since a rule would hold for some of them only."""

    def agreed(configs: tuple[ImageConfig, ...]) -> Any:
        first = read(configs[0])
        if any(read(config) != first for config in configs[1:]):
            message = f"the image's platforms differ in their {what}: look at image.configs, one by one"
            raise Abort(Unacceptable("PlatformsDiffer", message))
        return _ABSENT if first is None or first == "" else first

    return agreed


_CONFIGURED: Mapping[str, Callable[[tuple[ImageConfig, ...]], Any]] = {
    "configs": _by_platform,
    "user": _agreed("user", lambda config: config.user),
    "created": _agreed("time of creation", lambda config: config.created),
    "labels": _agreed("labels", lambda config: dict(config.labels)),
    "nonRoot": lambda configs: all(config.non_root for config in configs),
}


def _config(config: ImageConfig) -> dict[str, Any]:
    return present(user=config.user, created=config.created, workingDir=config.working_dir) | {
        "nonRoot": config.non_root,
        "labels": dict(config.labels),
        "entrypoint": config.entrypoint,
        "cmd": config.command,
        "exposedPorts": config.ports,
        "volumes": config.volumes,
    }


register_class(ImageValue, "image", base="map")
register_record(ImageConfig, _config)


@LIBRARY.method("age", IMAGE, returns=DURATION, reads="now")
def age(meter: Meter, image: ImageValue) -> Any:
    """How long ago the image was made; of several platforms the oldest counts. Reads the clock."""
    configs = image.configs()
    meter.charge(16 * len(configs))
    created = [config.created for config in configs]
    times = [moment for moment in created if moment is not None]
    if len(times) != len(created):
        raise CelError("the image does not say when it was made")
    return to_cel(max(image.now - min(times), timedelta()))
