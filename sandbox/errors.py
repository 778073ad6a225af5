"""The one exception of the sandbox: its text names the value, the place and the remedy."""


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the message is meant for a person."""
