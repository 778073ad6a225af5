"""The machines of the Molecule scenarios: containers with PostgreSQL and with the application, reached over SSH.

Not below molecule/: a Python package of that name is Molecule itself.
"""
