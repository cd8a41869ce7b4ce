"""Sphinx extension: the ledger of claims, made from ``claims.yml`` and from what the executed notebooks recorded.

Directives ``{claims-ledger}``, ``{claims-graph}`` and ``{claims-counts}``; roles ``{claim}`` (a link to a claim's row)
and ``{verdict}`` (a verdict in words). The cell that published a claim gets the anchor ``claim-<id>`` by itself, from
the record in its output, so that nothing in a chapter can point to the wrong cell. Every disagreement between the file
and the notebooks is a warning, which the build treats as an error.
"""

from __future__ import annotations

import hashlib
import html
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from ssltheory.ledger import (
    CLAIM_MIME,
    VERDICTS,
    Claim,
    Ledger,
    Recorded,
    discrepancies,
    load_ledger,
    read_notebooks,
    slug,
    verdict_words,
)

logger = logging.getLogger(__name__)
HEADS = ("Claim", "Verdict", "Statement and measurement", "Support")


class markup(nodes.General, nodes.Element):
    """An HTML element with docutils children; ``link`` is (document, anchor), resolved when the page is written."""


class claims_graph(nodes.General, nodes.Element):
    """The place of the graph; drawn when the page is written, since its links are relative to the page."""


class claim_marker(nodes.General, nodes.Element):
    """Stands in a cell's output for the record of a claim, until the cell has its anchor."""


def element(tag: str, *children: nodes.Node | str, link: tuple[str, str] | None = None, **attributes: str) -> markup:
    """Make an HTML element; in an attribute's name an underscore stands for a hyphen, at its end for nothing."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    made = markup(tag=tag, attributes_html=named, link=link)
    made.extend(nodes.Text(child) if isinstance(child, str) else child for child in children)
    return made


def pill(verdict: str) -> markup:
    """A verdict in words, with its icon and a border in its colour."""
    icon, _, words = verdict_words(verdict).partition(" ")
    return element("span", element("span", icon, aria_hidden="true"), f" {words}", class_=f"verdict verdict-{verdict}")


# --- what the book holds --------------------------------------------------------------------------------------------


def ledger_of(app: Sphinx) -> Ledger:
    """The validated ledger; a malformed file stops the build with the message of the validator."""
    try:
        return load_ledger(Path(app.srcdir) / app.config.claims_file)
    except ValueError as error:
        raise ExtensionError(f"claims ledger: {error}") from error


def recorded_of(app: Sphinx) -> Recorded:
    """What the notebooks of the book recorded when they were executed."""
    paths = (str(app.env.doc2path(name, base=False)) for name in app.env.found_docs)
    try:
        return read_notebooks(app.srcdir, sorted(path for path in paths if path.endswith(".ipynb")))
    except ValueError as error:
        raise ExtensionError(f"claims ledger: {error}") from error


def note_changes(app: Sphinx, env: BuildEnvironment, *_: Any) -> list[str]:
    """Rebuild the pages that show claims when the file or a record changed since the last build."""
    content = repr((ledger_of(app), recorded_of(app))).encode()
    digest, holder = hashlib.sha256(content).hexdigest(), cast(Any, env)
    if getattr(holder, "claims_digest", None) == digest:
        return []
    holder.claims_digest = digest
    return [name for name, data in env.metadata.items() if "claims" in data and name in env.found_docs]


def report(app: Sphinx, *_: Any) -> None:
    """Warn of every disagreement between the file and the notebooks."""
    for disagreement in discrepancies(ledger_of(app), recorded_of(app)):
        logger.warning("claims ledger: %s", disagreement, type="claims")


class ClaimRenderer:
    """Teaches myst-nb the mime type of a claim's record."""

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Element] | None:
        """Return a marker for a claim's record and None for any other output."""
        if data.mime_type != CLAIM_MIME:
            return None
        return [claim_marker(claim=data.content["id"])]


def anchor_claims(app: Sphinx, document: nodes.document) -> None:
    """Give each cell that published a claim its anchor, and its output what was measured in words, with a link."""
    docname = app.env.docname
    ledger = ledger_of(app)
    if not list(document.findall(claim_marker)):
        return
    app.env.metadata[docname]["claims"] = True
    recorded = read_notebooks(app.srcdir, [str(app.env.doc2path(docname, base=False))])
    evidence = {entry.id: found.cell for entry in ledger if (found := recorded.find(entry))}
    seen: dict[str, int] = {}
    for cell in list(document.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code":
            continue
        for marker in list(cell.findall(claim_marker)):
            name = marker["claim"]
            marker.parent.parent.remove(marker.parent)
            anchor = f"claim-{slug(name)}"
            if evidence.get(name, cell["cell_index"]) != cell["cell_index"]:
                seen[name] = seen.get(name, 1) + 1
                anchor = f"{anchor}-{seen[name]}"
            if anchor not in cell["ids"] and anchor not in document.ids:
                cell["ids"].append(anchor)
            if name in ledger:
                link = element("a", f"{name} in the ledger", link=(app.config.claims_page, ledger[name].row))
                words = measured_words(ledger[name], recorded) if name in evidence else []
                cell.children[-1].append(element("p", *words, link, class_="claim-source"))


def measured_words(entry: Claim, recorded: Recorded) -> list[nodes.Node | str]:
    """What a claim measured, in words with formulas, as a badge lists it under the short names of its cell."""
    try:
        parts = re.split(r"\$([^$]+)\$", entry.fill(recorded.values_for(entry)) or "")
    except ValueError:
        return []  # a value of another notebook, or one that is missing: reported with the other disagreements
    found: list[nodes.Node | str] = [nodes.math(part, part) if i % 2 else part for i, part in enumerate(parts)]
    return [element("strong", "In words: "), *found, " "] if any(parts) else []


# --- the table ------------------------------------------------------------------------------------------------------


class ClaimsDirective(SphinxDirective):
    """What the three directives share: the page is noted, so that it is rebuilt when a claim changes."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Note the page and return what it shows."""
        self.env.metadata[self.env.docname]["claims"] = True
        return self.show(ledger_of(self.env.app), recorded_of(self.env.app))

    @abstractmethod
    def show(self, ledger: Ledger, recorded: Recorded) -> list[nodes.Node]:
        """Return the nodes that the directive shows."""

    def inline(self, text: str) -> list[nodes.Node]:
        """Read a text of the ledger as inline MyST, formulas included."""
        return cast(list[nodes.Node], self.parse_inline(text)[0])


class LedgerTable(ClaimsDirective):
    """``{claims-ledger}``: one row a claim, with filters that appear where scripts run."""

    def show(self, ledger: Ledger, recorded: Recorded) -> list[nodes.Node]:
        """Return the filters, the announced count and the table."""
        self.ledger, self.recorded, self.shaken = ledger, recorded, ledger.shaken
        heads = [element("th", title, scope="col", role="columnheader") for title in HEADS]
        table = element(
            "table",
            element("caption", "Every claim, what was measured, and the verdict"),
            element("thead", element("tr", *heads, role="row"), role="rowgroup"),
            element("tbody", *(self.row(entry) for entry in ledger), role="rowgroup"),
            class_="claims-table",
            role="table",
        )
        total = f"{len(ledger)} claims"
        count = element("p", total, class_="claims-shown", role="status", aria_live="polite")
        return [element("div", self.filters(ledger), count, table, class_="claims-ledger")]

    def filters(self, ledger: Ledger) -> markup:
        """The form of three controls, hidden until the script that serves them runs."""
        counts = {verdict: count for verdict, count in ledger.counts.items() if count}
        verdicts = [(name, f"{verdict_words(name)} ({count})") for name, count in counts.items()]
        return element(
            "form",
            *_select("claims-paper", "Paper", [(paper, paper) for paper in ledger.papers]),
            *_select("claims-verdict", "Verdict", verdicts),
            element(
                "div",
                element("label", "Search", for_="claims-search"),
                element("input", id="claims-search", type="search", autocomplete="off"),
            ),
            element("button", "Show all", type="reset"),
            class_="claims-filters",
            hidden="hidden",
            role="search",
            aria_label="Filter the claims",
        )

    def row(self, entry: Claim) -> markup:
        """The row of one claim."""
        try:
            measured = entry.fill(self.recorded.values_for(entry))
        except ValueError:
            measured = None  # reported with the other disagreements
        name = element("a", element("code", entry.id), link=(self.env.docname, entry.row))
        title = [
            name,
            " · ",
            element("span", entry.paper, class_="claims-paper"),
            ", ",
            element("span", *self.inline(entry.where)),
            " · ",
            element("span", entry.kind, class_="claims-kind"),
        ]
        statement = [element("p", *self.inline(entry.statement))]
        for heading, text in (("Published", entry.published), ("Measured", measured), ("Note", entry.note)):
            if text is not None:
                body = self.inline(str(text))
                statement.append(
                    element("p", element("strong", f"{heading}: "), *body, class_=f"claims-{heading.lower()}")
                )
        support: list[nodes.Node] = []
        if entry.notebook is not None and self.recorded.find(entry) is not None:
            docname = entry.notebook.removesuffix(".ipynb")
            support.append(element("div", element("a", f"evidence for {entry.id}", link=(docname, entry.anchor))))
        if entry.depends_on:
            support.append(element("div", "rests on ", *self.names(entry.depends_on), class_="claims-rests"))
        if entry.verdict == "contradicted" and (taken := self.ledger.dependents(entry.id)):
            support.append(element("div", "takes with it ", *self.names(taken), class_="claims-shaken"))
        if entry.id in self.shaken:
            causes = self.names(self.shaken[entry.id])
            support.append(element("div", "rests on a contradicted claim: ", *causes, class_="claims-shaken"))
        cells = [element("th", *title, scope="row", role="rowheader")]
        cells += [element("td", *part, role="cell") for part in ([pill(entry.verdict)], statement, support)]
        search = " ".join(filter(None, (entry.id, entry.paper, entry.where, entry.kind, entry.statement, entry.note)))
        return element(
            "tr",
            *cells,
            id=entry.row,
            role="row",
            data_paper=entry.paper,
            data_verdict=entry.verdict,
            data_search=search.lower(),
        )

    def names(self, ids: Sequence[str]) -> list[nodes.Node]:
        """Links to rows, separated by commas."""
        found: list[nodes.Node] = []
        for name in ids:
            found += [nodes.Text(", ")] if found else []
            found.append(element("a", name, link=(self.env.docname, self.ledger[name].row)))
        return found


def _select(name: str, label: str, options: Sequence[tuple[str, str]]) -> list[markup]:
    """A labelled choice; none where there is nothing to choose."""
    if len(options) < 2:
        return []
    listed = [element("option", text, value=value) for value, text in [("", "all"), *options]]
    return [element("div", element("label", label, for_=name), element("select", *listed, id=name))]


class LedgerCounts(ClaimsDirective):
    """``{claims-counts}``: the number of claims by verdict, each in words."""

    def show(self, ledger: Ledger, recorded: Recorded) -> list[nodes.Node]:
        """Return the list of counts and a link to the ledger."""
        items = [
            element("li", element("strong", str(count)), " ", pill(verdict))
            for verdict, count in ledger.counts.items()
            if count
        ]
        counts = element("ul", *items, class_="claims-counts")
        if self.env.docname == self.config.claims_page:
            return [counts]
        link = element("a", f"All {len(ledger)} claims in the ledger", link=(self.config.claims_page, ""))
        return [counts, element("p", link)]


# --- the graph ------------------------------------------------------------------------------------------------------


class LedgerGraph(ClaimsDirective):
    """``{claims-graph}``: which claim rests on which, as a drawing and as a list."""

    def show(self, ledger: Ledger, recorded: Recorded) -> list[nodes.Node]:
        """Return the drawing's place and its text alternative."""
        page = self.config.claims_page
        entries = connected(ledger)
        items = []
        for entry in entries:
            after = [other.id for other in entries if entry.id in other.depends_on]
            text = [f" ({verdict_words(entry.verdict).partition(' ')[2]})"]
            text += [f"; rests on {', '.join(entry.depends_on)}"] if entry.depends_on else []
            text += [f"; beneath {', '.join(after)}"] if after else []
            if entry.verdict == "contradicted" and (taken := ledger.dependents(entry.id)):
                text.append(f"; takes with it {', '.join(taken)}")
            items.append(element("li", element("a", entry.id, link=(page, entry.row)), "".join(text), "."))
        listing = element("details", element("summary", "The graph as a list"), element("ul", *items))
        return [element("div", claims_graph(page=page), listing, class_="claims-graph")]


def connected(ledger: Ledger) -> list[Claim]:
    """The claims that rest on another or have one resting on them."""
    beneath = {name for entry in ledger for name in entry.depends_on}
    return [entry for entry in ledger if entry.depends_on or entry.id in beneath]


@dataclass(frozen=True)
class Layout:
    """Places of the nodes, (layer, height), and for each edge the heights at which it crosses the layers between."""

    places: dict[str, tuple[int, float]]
    routes: dict[tuple[str, str], list[tuple[int, float]]]
    rows: float


def arrange(entries: Sequence[Claim]) -> Layout:
    """Place each claim right of all it rests on and near the mean height of its neighbours.

    An edge that passes a layer takes a place of its own there, so that no line runs behind a claim. Groups that share
    no edge are placed one below the other.
    """
    below = {entry.id: entry.depends_on for entry in entries}
    above = {name: [other for other in below if name in below[other]] for name in below}
    depth: dict[str, int] = {}

    def find_depth(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((find_depth(other) for other in below[name]), default=-1)
        return depth[name]

    groups: list[set[str]] = []
    for name in below:
        find_depth(name)
        near = {name, *below[name], *above[name]}
        touched = [group for group in groups if near & group]
        groups = [group for group in groups if group not in touched] + [near.union(*touched)]
    for name in below:  # a claim that rests on nothing stands just left of the first that rests on it
        if not below[name]:
            depth[name] = min(depth[other] for other in above[name]) - 1

    places: dict[str, tuple[int, float]] = {}
    routes: dict[tuple[str, str], list[tuple[int, float]]] = {}
    top = 0.0
    for group in sorted(groups, key=len, reverse=True):
        columns: list[list[str]] = [[] for _ in range(1 + max(depth[name] for name in group))]
        around: dict[str, list[str]] = {}
        chains: dict[tuple[str, str], list[str]] = {}
        for name in (name for name in below if name in group):
            columns[depth[name]].append(name)
            around.setdefault(name, [])
            for other in below[name]:
                chain = [f"{other} {name} {layer}" for layer in range(depth[other] + 1, depth[name])]
                for layer, passing in enumerate(chain, depth[other] + 1):
                    columns[layer].append(passing)
                chains[other, name] = chain
                for left, right in pairwise([other, *chain, name]):
                    around.setdefault(left, []).append(right)
                    around.setdefault(right, []).append(left)
        sizes = {name: 1.0 if name in below else 0.6 for column in columns for name in column}
        rows = max(sum(sizes[name] for name in column) for column in columns)
        height: dict[str, float] = {}
        for column in columns:
            height |= _spread([(name, i * rows / len(column)) for i, name in enumerate(column)], sizes, rows)
        for sweep in range(24):
            for column in columns if sweep % 2 else columns[::-1]:
                wish = {name: sum(height[other] for other in around[name]) / len(around[name]) for name in column}
                column.sort(key=lambda name: wish[name])
                height |= _spread([(name, wish[name]) for name in column], sizes, rows)
        places |= {name: (depth[name], top + height[name]) for name in below if name in group}
        for edge, chain in chains.items():
            routes[edge] = [(depth[edge[0]] + 1 + i, top + height[passing]) for i, passing in enumerate(chain)]
        top += rows + 0.4
    return Layout(places, routes, top - 0.4)


def _spread(wishes: Sequence[tuple[str, float]], sizes: dict[str, float], rows: float) -> dict[str, float]:
    """Middles close to the wished ones, in the same order, without overlap, between 0 and ``rows``."""
    names, middles = [name for name, _ in wishes], [wish for _, wish in wishes]
    half = [sizes[name] / 2 for name in names]
    for i in range(len(names)):
        middles[i] = max(middles[i], half[i] if i == 0 else middles[i - 1] + half[i - 1] + half[i])
    for i in reversed(range(len(names))):
        last = i == len(names) - 1
        middles[i] = min(middles[i], rows - half[i] if last else middles[i + 1] - half[i + 1] - half[i])
    return dict(zip(names, middles, strict=True))


def draw(ledger: Ledger, page: str) -> str:
    """The graph as SVG; ``page`` is the address of the ledger relative to the page that shows the graph."""
    entries = connected(ledger)
    if not entries:
        return "<p>No claim rests on another yet.</p>"
    tall, step, gap = 28, 38, 44
    layout = arrange(entries)
    longest = [0] * (1 + max(layer for layer, _ in layout.places.values()))
    for name, (layer, _) in layout.places.items():
        longest[layer] = max(longest[layer], len(name))
    wide = [46 + 7.4 * length for length in longest]
    left = [8 + sum(wide[:layer]) + gap * layer for layer in range(len(wide))]
    width, height = left[-1] + wide[-1] + 8, layout.rows * step + 8
    shaken = ledger.shaken
    fallen = {entry.id for entry in entries if entry.verdict == "contradicted"}
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="group" '
        f'style="min-width:{width:.0f}px" '
        'aria-label="Which claim rests on which: an arrow runs from a claim to each claim that rests on it">',
        *(
            f'<defs><marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
            for name in ("claims-arrow", "claims-arrow-shaken")
        ),
    ]
    for (start, end), route in layout.routes.items():
        (first, y), (last, y_end) = layout.places[start], layout.places[end]
        path = f"M{left[first] + wide[first]:.0f} {y * step + 4:.1f}"
        x = left[first] + wide[first]
        for layer, y_next in [*route, (last, y_end)]:
            middle = (x + left[layer]) / 2
            path += f" C{middle:.0f} {y * step + 4:.1f} {middle:.0f} {y_next * step + 4:.1f} "
            path += f"{left[layer] - (layer == last):.0f} {y_next * step + 4:.1f}"
            if layer != last:
                path += f" H{left[layer] + wide[layer]:.0f}"
            x, y = left[layer] + wide[layer], y_next
        kind = "-shaken" if start in fallen or start in shaken else ""
        cls = f"claims-edge claims-edge{kind}" if kind else "claims-edge"
        parts.append(f'<path class="{cls}" marker-end="url(#claims-arrow{kind})" d="{path}"/>')
    for entry in entries:
        layer, y = layout.places[entry.id]
        icon, _, words = verdict_words(entry.verdict).partition(" ")
        title = f"{entry.id}: {words}"
        if entry.id in shaken:
            title += f"; rests on the contradicted {', '.join(shaken[entry.id])}"
        if entry.id in fallen and (taken := ledger.dependents(entry.id)):
            title += f"; takes with it {', '.join(taken)}"
        cls = f"claims-node verdict-{entry.verdict}" + (" claims-node-shaken" if entry.id in shaken else "")
        parts.append(
            f'<a href="{page}#{entry.row}" class="{cls}" aria-label="{html.escape(title)}">'
            f"<title>{html.escape(title)}</title>"
            f'<rect x="{left[layer]:.0f}" y="{y * step + 4 - tall / 2:.1f}" width="{wide[layer]:.0f}" '
            f'height="{tall}" rx="5"/>'
            f'<text x="{left[layer] + 9:.0f}" y="{y * step + 8.5:.1f}"><tspan class="claims-icon">{icon}</tspan> '
            f"{entry.id}</text></a>"
        )
    parts.append("</svg>")
    frame = '<div class="claims-graph-frame" tabindex="0" role="region" aria-label="Graph of claims, scrolls sideways">'
    return frame + "".join(parts) + "</div>"


# --- roles and writing ----------------------------------------------------------------------------------------------


class ClaimRole(SphinxRole):
    """``{claim}`dual-4.11```: a link to the claim's row in the ledger."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the link, or a warning that names near ids."""
        try:
            entry = ledger_of(self.env.app)[self.text]
        except ValueError as error:
            return [], [self.inliner.reporter.warning(f"claim role: {error}", line=self.lineno)]
        return [element("a", entry.id, link=(self.config.claims_page, entry.row), class_="claim-link")], []


class VerdictRole(SphinxRole):
    """``{verdict}`reproduced``` or ``{verdict}`dual-4.11```: a verdict in words, given or looked up."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the verdict, or a warning that says what was needed."""
        if self.text in VERDICTS:
            return [pill(self.text)], []
        try:
            entry = ledger_of(self.env.app)[self.text]
        except ValueError as error:
            return [], [self.inliner.reporter.warning(f"verdict role: {error}", line=self.lineno)]
        self.env.metadata[self.env.docname]["claims"] = True
        return [pill(entry.verdict)], []


_VOID = {"input"}


def visit_markup(self: Any, node: markup) -> None:
    """Open the element."""
    attributes = dict(node["attributes_html"])
    if node["link"] is not None:
        docname, anchor = node["link"]
        here = self.builder.current_docname
        uri = "" if docname == here and anchor else self.builder.get_relative_uri(here, docname)
        attributes["href"] = f"{uri}#{anchor}" if anchor else uri
        attributes["class"] = f"reference internal {attributes.get('class', '')}".strip()
    listed = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
    self.body.append(f"<{node['tag']}{listed}>")


def depart_markup(self: Any, node: markup) -> None:
    """Close the element."""
    if node["tag"] not in _VOID:
        self.body.append(f"</{node['tag']}>")


def visit_graph(self: Any, node: claims_graph) -> None:
    """Write the drawing."""
    here, page = self.builder.current_docname, node["page"]
    uri = "" if page == here else self.builder.get_relative_uri(here, page)
    self.body.append(draw(ledger_of(self.builder.app), uri))
    raise nodes.SkipNode


def _nothing(self: Any, node: nodes.Node) -> None:
    """Write nothing around the children."""


def add_script(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the script of the filters on the pages that show claims."""
    if "claims" in app.env.metadata.get(pagename, {}):
        app.add_js_file("ledger.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register directives, roles, nodes and the checks."""
    from myst_nb.core.render import load_mime_renders

    renderers = load_mime_renders()
    if ClaimRenderer not in renderers:
        renderers.append(cast(Any, ClaimRenderer))
    app.add_config_value("claims_file", "claims.yml", "env")
    app.add_config_value("claims_page", "ledger", "env")
    plain: Any = (_nothing, _nothing)
    app.add_node(markup, html=(visit_markup, depart_markup), latex=plain, text=plain)
    app.add_node(claims_graph, html=(visit_graph, _nothing), latex=plain, text=plain)
    app.add_node(claim_marker, html=plain, latex=plain, text=plain)
    app.add_directive("claims-ledger", LedgerTable)
    app.add_directive("claims-graph", LedgerGraph)
    app.add_directive("claims-counts", LedgerCounts)
    app.add_role("claim", ClaimRole())
    app.add_role("verdict", VerdictRole())
    app.add_css_file("ledger.css")
    app.connect("env-get-outdated", note_changes)
    app.connect("env-before-read-docs", report)
    app.connect("doctree-read", anchor_claims)
    app.connect("html-page-context", add_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
