"""Prints what is installed beside this interpreter, in the form of a requirements file."""

import importlib.metadata

for distribution in importlib.metadata.distributions():
    print(distribution.metadata["Name"].lower().replace("_", "-") + "==" + distribution.version)
