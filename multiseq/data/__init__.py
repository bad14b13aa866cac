"""Reading labelled data from files. Each format has a function that returns `Records`."""

from multiseq.data.readers import READERS
from multiseq.data.records import DataError, Records

__all__ = ["READERS", "DataError", "Records"]
