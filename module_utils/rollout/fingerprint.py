"""One number for a catalog: equal if and only if every attribute of every object is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(entries: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of catalog entries, hexadecimal.

    :param entries: entry name -> attributes, JSON-compatible
    """
    canonical = json.dumps(entries, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
