"""An extension of griffe, which reads the docstrings for the site: our docstrings as its parser wants them.

Examples without a heading become blocks of code, ``Example:`` becomes ``Examples:``, and roles of Sphinx
(:meth:`name`) become plain code. mkdocs.yml names this file.
"""

import re
from typing import Any

import griffe


class OurDocstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = changed(obj.docstring.value)


def changed(docstring: str) -> str:
    docstring = re.sub(r":\w+:(?=`)", "", docstring)
    docstring = re.sub(r"^Example:$", "Examples:", docstring, flags=re.M)
    # A run of lines from ">>>" to the next empty line, at the margin: under "Examples:" it is indented.
    return re.sub(r"^>>> .*(?:\n.+)*", lambda run: f"```pycon\n{run[0]}\n```", docstring, flags=re.M)
