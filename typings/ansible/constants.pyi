"""The part of ansible-core's settings that the precheck and the callback read."""

from typing import Any

CONFIG_FILE: str | None
config: Any
COLOR_CHANGED: str
COLOR_ERROR: str
COLOR_OK: str
COLOR_SKIP: str
COLOR_WARN: str
