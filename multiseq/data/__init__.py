"""Reading labelled data from files: one function for each format, all of them giving `Records`."""

from multiseq.data.readers import READERS
from multiseq.data.records import DataError, Records

__all__ = ["READERS", "DataError", "Records"]
