"""The part of ansible-core's settings that the precheck reads."""

from typing import Any

CONFIG_FILE: str | None
config: Any
