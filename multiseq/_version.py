"""The version: here, so that what is below the package need not import the package."""

__version__ = "0.1.0"
