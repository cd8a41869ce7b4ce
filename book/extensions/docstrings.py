"""Let docstrings be plain text: ``|A|`` is a norm and ``*batch`` a shape, not marks of reStructuredText.

Everything outside double backquotes and doctests is escaped before Sphinx parses it, so that a formula can be written
as it reads in an editor.
"""

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.*?``|:\w+:`[^`]*`)")


# Napoleon reads what stands before a colon in an attribute's first line as its type; a private character hides it.
COLON = "\ue000"


def escape(line: str) -> str:
    """Return ``line`` with bars and stars escaped, except in literals and roles."""
    parts = LITERAL.split(line)
    return "".join(part if i % 2 else part.replace("|", "\\|").replace("*", "\\*") for i, part in enumerate(parts))


def marked(lines: list[str]) -> list[str]:
    """Return a docstring's lines with prose escaped and indented paragraphs, as diagrams are, marked as literal."""
    made: list[str] = []
    literal = doctest = False
    for line in lines:
        words = line.strip()
        if not words:
            doctest = False
        elif line.startswith("    "):
            if not literal and made and not made[-1].strip() and not _continues(made):
                made += ["::", ""]
                literal = True
        else:
            literal = False
        doctest = doctest or words.startswith(">>>")
        made.append(line if literal or doctest else escape(line))
    return made


def _continues(made: list[str]) -> bool:
    """Say whether an indented line belongs to what stands before it: a list, a directive, a literal block."""
    before = next((line.strip() for line in reversed(made) if line.strip()), "")
    return before.startswith((">>>", "..", "- ", "::")) or before.endswith("::")


def escape_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place."""
    lines[:] = marked(lines)
    if what in ("data", "attribute", "property") and lines:
        lines[0] = lines[0].replace(":", COLON)


def restore_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put back what napoleon was not to see."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx, around napoleon."""
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)
    app.connect("autodoc-process-docstring", restore_docstring, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
