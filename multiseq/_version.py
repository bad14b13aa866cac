"""The version number. It has its own module, so that other modules can import it without the package."""

__version__ = "0.1.0"
