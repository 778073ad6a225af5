"""The audit of the application's queries as a plain command: ``python -m audit``."""
