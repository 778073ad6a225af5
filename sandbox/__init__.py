"""The embedded sandbox: a private PostgreSQL server that looks like production's, for demos, tests and benchmarks.

``python -m sandbox up|down|status`` runs it; docs/sandbox.md describes it.
"""
