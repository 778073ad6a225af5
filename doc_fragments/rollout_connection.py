"""Documentation of the connection options, shared by every module that talks to the database."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of module_utils/rollout/arguments.py."""

    DOCUMENTATION = r"""
options:
  host:
    description: Name or address of the database server. With O(sslmode=verify-full) the certificate must carry it.
    type: str
  port:
    description: Port of the database server.
    type: int
  dbname:
    description: Database to connect to.
    type: str
  user:
    description: Role to log in as.
    type: str
  password:
    description: Password of that role. Travels inside the module's arguments, never on a command line.
    type: str
  passfile:
    description: Password file on the target host, mode 0600, in libpq's format; instead of O(password).
    type: path
  service:
    description: Entry of a libpq service file that holds the connection settings.
    type: str
  service_file:
    description: The service file, on the target host.
    type: path
  sslmode:
    description: How the server has to prove who it is, one of libpq's words. Production uses V(verify-full).
    type: str
  sslrootcert:
    description: Certificate of the authority that signed the server's, a path on the target host.
    type: path
  connect_timeout:
    description: Longest wait for a connection, seconds.
    type: int
    default: 10
  application_name:
    description: What C(pg_stat_activity) shows of the session; the run id is appended by the roles.
    type: str
    default: rollout
requirements:
  - psycopg >= 3.2 on the target host (role C(runtime) installs it)
"""
