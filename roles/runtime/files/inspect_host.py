"""Says in JSON whether this interpreter can make the environment in the folder that is the first argument.

Any Python from 2.7 on must be able to read this file: an old one is to be named, not to end in a syntax error.
"""

import json
import os
import pkgutil
import platform
import sys


def folder_state(path):
    """absent, environment (an earlier one, may be replaced), or foreign (something else, must not be touched)."""
    if not os.path.lexists(path):
        return "absent"
    if os.path.isfile(os.path.join(path, "pyvenv.cfg")):
        return "environment"
    if os.path.isdir(path) and not os.listdir(path):
        return "absent"
    return "foreign"


def machine():
    """The same for all names of one machine; another for each container."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as source:
            boot = source.read().strip()
    except IOError:  # not Linux
        boot = ""
    return "%s %s %d" % (platform.node(), boot, os.stat("/").st_dev)


modules = set(module[1] for module in pkgutil.iter_modules())
print(
    json.dumps(
        {
            "python": "%d.%d" % sys.version_info[:2],
            # Debian and Ubuntu ship ensurepip, without which venv makes no pip, in a package of its own.
            "can_make_environment": "venv" in modules and "ensurepip" in modules,
            "machine": machine(),
            "folder": folder_state(sys.argv[1]),
        }
    )
)
