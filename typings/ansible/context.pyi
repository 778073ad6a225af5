from collections.abc import Mapping
from typing import Any

# The command line of the running ansible program.
CLIARGS: Mapping[str, Any]
