"""The exceptions of this package: their text names the value, the place and the remedy."""


class ContainerError(Exception):
    """Something about the containers does not work; the message is meant for a person."""


class NoContainers(ContainerError):
    """This machine cannot run containers; the message says why."""
