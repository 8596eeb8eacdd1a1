"""What is measured, one file for each probe."""

from .peak import peak

__all__ = ["peak"]
