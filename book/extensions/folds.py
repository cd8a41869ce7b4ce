"""Fold proofs and solutions by the browser's own ``<details>``, which needs no script and obeys the keyboard.

sphinx-togglebutton expects a title that sphinx-proof does not give its proofs, and stops with an error on every page
that folds one. This post-transform takes over ``:class: dropdown`` of both environments, and gives each an id of its
own, where sphinx-proof repeats one.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import solution_node
from sphinx_proof.nodes import proof_node

REPEATED = ("proof-content", "exercise-content", "solution-content")


class fold(nodes.General, nodes.Element):
    """A ``<details>`` element."""


class fold_summary(nodes.General, nodes.TextElement):
    """The line that opens a fold."""


def visit_fold(self: Any, node: nodes.Element) -> None:
    """Open the element."""
    self.body.append(self.starttag(node, "details", CLASS="fold"))


def depart_fold(self: Any, node: nodes.Element) -> None:
    """Close the element."""
    self.body.append("</details>\n")


def visit_summary(self: Any, node: nodes.Element) -> None:
    """Open the line."""
    self.body.append(self.starttag(node, "summary", ""))


def depart_summary(self: Any, node: nodes.Element) -> None:
    """Close the line."""
    self.body.append("</summary>\n")


class Fold(SphinxPostTransform):
    """Replace folded proofs and solutions; runs after sphinx-exercise has resolved its titles."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Rewrite the document."""
        for number, proof in enumerate(list(self.document.findall(proof_node)), start=1):
            box = proof[0]
            assert isinstance(box, nodes.Element)
            box["ids"] = [f"proof-{number}"]
            box["classes"] = ["proof-environment", *dict.fromkeys(box["classes"])]
            if "dropdown" in box["classes"]:
                self._drop_word(box)
                proof.replace_self(self._folded(box, "Proof", box.children))
        for solution in list(self.document.findall(solution_node)):
            if "dropdown" in solution["classes"]:
                titles = [child for child in solution.children if isinstance(child, nodes.title)]
                words = titles[0].astext() if titles else "Solution"
                solution.replace_self(self._folded(solution, words, [c for c in solution.children if c not in titles]))
        for number, section in enumerate(self.document.findall(nodes.section), start=1):
            section["ids"] = [f"{i}-{number}" if i in REPEATED else i for i in section["ids"]]

    @staticmethod
    def _drop_word(box: nodes.Element) -> None:
        """Remove the word that sphinx-proof writes before the first paragraph; the fold's line says it."""
        if box.children and isinstance(box[0], nodes.paragraph) and isinstance(box[0][0], nodes.Text):
            text = box[0][0].astext()
            box[0].replace(box[0][0], nodes.Text(text.removeprefix("Proof. ")))

    @staticmethod
    def _folded(source: nodes.Element, words: str, body: Any) -> fold:
        classes = [name for name in source["classes"] if name not in ("dropdown", "admonition")]
        made = fold(ids=source["ids"], classes=classes)
        made += fold_summary(words, words)
        made += nodes.container("", *body, classes=["fold-body"])
        return made


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx."""
    nothing: Any = (lambda self, node: None, lambda self, node: None)
    app.add_node(fold, html=(visit_fold, depart_fold), latex=nothing, text=nothing)
    app.add_node(fold_summary, html=(visit_summary, depart_summary), latex=nothing, text=nothing)
    app.add_post_transform(Fold)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
