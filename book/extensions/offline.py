"""Keep the site self-contained and its pages readable by all.

MathJax comes from an installed package and is served with the pages. What the writers of HTML get wrong for screen
readers is mended.
"""

import hashlib
import importlib.metadata
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
# What pages need: the TeX and MathML reader with the common-HTML writer, its fonts, TeX extensions, menu, speech rules.
PARTS = ("tex-mml-chtml.js", "output/chtml/fonts", "input/tex/extensions", "input/mml", "ui", "a11y", "sre")
# Of the speech rules, one language and the base they all need.
SPEECH = {"base.json", "en.json", "nemeth.json"}


def mathjax_files() -> dict[str, Path]:
    """Return the files of MathJax 3 that the site needs, as path within the copy -> installed file.

    The package's folder has hyphens in its name and can't be imported, so its list of files says where they are.
    """
    try:
        listed = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise ExtensionError(f"MathJax is missing: the site takes it from the package {PACKAGE}; install it") from None
    found: dict[str, Path] = {}
    for entry in listed:
        _, marker, inner = str(entry).partition("static/mathjax/")
        if not marker or not inner.startswith(PARTS):
            continue
        if "mathmaps" in inner and Path(inner).name not in SPEECH:
            continue
        found[inner] = Path(str(entry.locate()))
    if PARTS[0] not in found:
        raise ExtensionError(f"MathJax is missing: {PACKAGE} is installed but holds no {PARTS[0]}")
    return found


def copy_mathjax(app: Sphinx) -> None:
    """Copy MathJax into ``_static/mathjax``, before any page is written so that each build links to it alike."""
    if app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static" / "mathjax"
    for inner, source in mathjax_files().items():
        target = folder / inner
        if not target.exists() or target.stat().st_size != source.stat().st_size:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def find_contents(app: Sphinx, config: Config) -> None:
    """Take a relative path of the table of contents from the working folder, where ``--toc`` was typed.

    Jupyter Book passes it on as it stands, and it would be read as relative to the sources.
    """
    contents = Path(config.external_toc_path)
    if not (Path(app.srcdir) / contents).exists() and contents.exists():
        config.external_toc_path = contents.resolve().as_posix()


def watch_common_files(app: Sphinx, config: Config) -> None:
    """Let every page be written again when a file changes that shows on each: the contents, style sheets, extensions.

    Sphinx compares pages with their own sources only, and copies no style sheet when no page is out of date.
    """
    source = Path(app.srcdir)
    shared = [source / config.external_toc_path, *sorted(Path(__file__).parent.glob("*.py"))]
    for folder in config.html_static_path:
        shared += sorted(path for path in (source / folder).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in shared:
        if path.exists():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    config.common_files_digest = digest.hexdigest()


SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)
SIGNATURE_TAGS = (
    ("<dl>", '<span class="sig-list">'),
    ("</dl>", "</span>"),
    ("<dd>", '<span class="sig-item">'),
    ("</dd>", "</span>"),
)
CITATION_ROLES = (' role="list" class="citation-list"', ' class="citation-list"'), (' role="doc-biblioentry"', "")


def _spans(signature: re.Match[str]) -> str:
    text = signature[0]
    for tag, span in SIGNATURE_TAGS:
        text = text.replace(tag, span)
    return text


# A browser may break a line between a formula and the comma after it, or the bracket before it, unless told otherwise.
FORMULA = re.compile(r"""([(\[“‘]*)(<span class="math notranslate nohighlight">[^<]*</span>)((?:[.,;:!?)\]”…]|’s?)*)""")
PICTURE = re.compile(r'(<figure class="[^"]*"[^>]*>\s*)(<img [^>]*>)')


def _keep(formula: re.Match[str]) -> str:
    before, inner, after = formula.groups()
    return f'<span class="keep">{before}{inner}{after}</span>' if before or after else inner


def mend_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Mend what the writers get wrong for screen readers and for narrow pages.

    Sphinx writes a long signature as a definition list without terms; docutils gives bibliographies a list role whose
    members have another. A formula keeps its punctuation on its line, and a figure's picture gets a box to scroll in.
    """
    if "body" in context:
        body = SIGNATURE.sub(_spans, context["body"])
        for role, mended in CITATION_ROLES:
            body = body.replace(role, mended)
        body = FORMULA.sub(_keep, body)
        body = PICTURE.sub(r'\1<div class="picture">\2</div>', body)
        context["body"] = body


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx."""
    app.add_config_value("common_files_digest", "", "html", types=(str,))
    app.connect("config-inited", find_contents, priority=1)
    app.connect("config-inited", watch_common_files, priority=2)
    app.connect("builder-inited", copy_mathjax)
    app.connect("html-page-context", mend_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
