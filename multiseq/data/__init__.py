"""Reading labelled data from files: one function for each format, all of them giving `Records`."""

from multiseq.data.records import DataError, Records
from multiseq.data.readers import READERS

__all__ = ["READERS", "DataError", "Records"]
