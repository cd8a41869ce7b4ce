"""The built site as its readers meet it: in a browser, wide and narrow, light and dark, online and from a folder."""

import functools
import http.server
import queue
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pytest
import yaml

from ssltheory.explorers import Arrows, Choice, Circle, Line, Panel, Points, Scene, Slider, explorer

bs4 = pytest.importorskip("bs4", reason="the site's tests read HTML by beautifulsoup4; run `make environment`")
sync_api = pytest.importorskip("playwright.sync_api", reason="the site's tests drive a browser by playwright")

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # no page gets an answer from elsewhere
BROWSERS = 2  # that examine pages side by side

# What axe-core finds in the themes themselves, rule -> why it is left: the only place where a finding is excused.
# Empty: what the themes get wrong is mended in book/assets/reach.js and book/extensions/offline.py.
THEME_FINDINGS: dict[str, str] = {}

FACTS = """() => ({
  "formula left raw": [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))
    .map(e => e.textContent.trim().slice(0, 60)),
  "formula with an error": [...document.querySelectorAll('mjx-merror, [data-mjx-error]')]
    .map(e => e.textContent.slice(0, 60)),
  "image without alt": [...document.images].filter(i => !i.alt).map(i => i.src.split('/').pop().slice(0, 60)),
  "image not loaded": [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src.slice(-60)),
  "id used twice": [...document.querySelectorAll('[id]')].map(e => e.id)
    .filter((id, i, all) => all.indexOf(id) !== i),
})"""
# A formula's glyphs are half of a chapter's elements, hidden from assistive tools, and axe-core finds no text in them:
# their colour is that of the words around, or named; then they leave, which halves the time it takes.
FORMULAS = """() => {
  const glyphs = [...document.querySelectorAll('mjx-container > mjx-math')];
  const colour = element => getComputedStyle(element).color;
  const own = glyphs.filter(g => {
    const around = colour(g.parentElement.parentElement);
    return [g, ...g.querySelectorAll('*')].some(e => colour(e) !== around);
  });
  const said = own.map(g => g.parentElement.textContent.slice(0, 60));
  glyphs.forEach(g => g.remove());
  return { "formula in a colour of its own": said };
}"""
SETTLE = 200  # milliseconds until a page has done what it does after loading or resizing; reach.js waits 150
PICTURE = """figure => [...figure.querySelectorAll('.explorer-stage svg')].map(svg => svg.innerHTML).join()"""


def newest(*folders):
    return max(p.stat().st_mtime for folder in folders for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def site():
    """The folder of the built site; built here if it is missing or older than its sources."""
    sources = [ROOT / "book", ROOT / "ssltheory"]
    built = HTML / "index.html"
    if not built.exists() or built.stat().st_mtime < max(newest(*sources), (ROOT / "_toc.yml").stat().st_mtime):
        command = [sys.executable, "-m", "jupyter_book.cli.main", "build", "book", "--config", "_config.yml"]
        command += ["--toc", "_toc.yml", "--path-output", ".", "-W", "--keep-going"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        built.touch()
    return HTML


@pytest.fixture(scope="module")
def soups(site):
    paths = [p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts and "_sources" not in p.parts]
    return {p.relative_to(site).as_posix(): bs4.BeautifulSoup(p.read_text(), "html.parser") for p in paths}


# What the files say ---------------------------------------------------------------------------------------------------


def broken_links(folder, soups):
    """Return 'page: link' for each link or resource of a page whose file or anchor does not exist."""
    ids = {page: {e["id"] for e in soup.find_all(id=True)} for page, soup in soups.items()}
    for page, soup in soups.items():
        ids[page] |= {e["name"] for e in soup.find_all("a", attrs={"name": True})}
    broken = []
    for page, soup in soups.items():
        here = folder / page
        for tag, attribute in (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src")):
            for element in soup.find_all(tag, attrs={attribute: True}):
                link = element[attribute]
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
                if not target.is_file():
                    broken.append(f"{page}: {link}")
                elif tag == "a" and parts.fragment and target.suffix == ".html":
                    name = target.relative_to(folder.resolve()).as_posix()
                    if unquote(parts.fragment) not in ids.get(name, ()):
                        broken.append(f"{page}: {link}")
    return broken


def test_every_internal_link_leads_somewhere(site, soups):
    assert broken_links(site, soups) == []


def test_no_page_names_a_resource_elsewhere(soups):
    outside = [
        f"{page}: {element[attribute]}"
        for page, soup in soups.items()
        for tag, attribute in (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"))
        for element in soup.find_all(tag, attrs={attribute: True})
        if urlsplit(element[attribute]).scheme in ("http", "https") and element.get("rel") != ["canonical"]
    ]
    assert outside == []


def test_no_style_sheet_imports_from_elsewhere(site):
    for sheet in (site / "_static").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?https?:", sheet.read_text()), sheet


def chapters():
    listed = []

    def walk(node):
        if isinstance(node, dict):
            listed.extend(v for k, v in node.items() if k in ("file", "root"))
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(TOC)
    return listed


def test_every_page_of_the_sources_is_in_the_contents_and_the_reverse():
    pages = [
        p for p in (ROOT / "book").rglob("*") if p.suffix in (".md", ".ipynb") and ".ipynb_checkpoints" not in p.parts
    ]
    names = {p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in pages}
    assert names == {
        str(Path(name).with_suffix("")) if name.endswith((".md", ".ipynb")) else name for name in chapters()
    }


def test_every_module_has_its_page():
    modules = {p.stem for p in (ROOT / "ssltheory").glob("[!_]*.py")}
    modules |= {p.parent.name for p in (ROOT / "ssltheory").glob("*/__init__.py")}
    pages = {p.stem for p in (ROOT / "book" / "api").glob("*.md")} - {"index"}
    assert pages == modules
    for module in modules:
        assert f".. automodule:: ssltheory.{module}\n" in (ROOT / "book" / "api" / f"{module}.md").read_text()


def test_launch_buttons_open_the_notebook_that_the_page_shows(soups):
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    options = CONFIG["sphinx"]["config"]["html_theme_options"]
    assert CONFIG["repository"]["url"] == options["repository_url"] == repository
    assert CONFIG["repository"]["branch"] == options["repository_branch"] == "main"
    name = urlsplit(repository).path.strip("/")
    notebooks = sorted((ROOT / "book").glob("*/*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        path = notebook.relative_to(ROOT).as_posix()
        page = notebook.relative_to(ROOT / "book").with_suffix(".html").as_posix()
        links = {a["href"] for a in soups[page].select("a[href]")}
        launches = {link for link in links if "mybinder" in link or "colab.research" in link}
        assert launches == {
            f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{path}",
            f"https://colab.research.google.com/github/{name}/blob/main/{path}",
        }


# What a browser meets -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium here; install it (Debian: apt-get install chromium) to test the site in a browser")
    return path


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def serve(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def new_context(browser, scheme="light", **options):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, **options)
    context.add_init_script(f"try {{ localStorage.mode = localStorage.theme = '{scheme}' }} catch (e) {{}}")
    return context


def open_page(context, base, name):
    """Open a page, let its scripts finish, and return it with what went wrong on the way."""
    found = {"request to another host": [], "request that failed": [], "console": []}
    page = context.new_page()

    def watch(request):
        if not request.url.startswith((base, "data:", "blob:")):
            found["request to another host"].append(request.url)

    page.on("request", watch)
    page.on("response", lambda r: r.status >= 400 and found["request that failed"].append(r.url))
    page.on("requestfailed", lambda r: r.url.startswith(base) and found["request that failed"].append(r.url))
    page.on("console", lambda m: m.type in ("error", "warning") and found["console"].append(m.text))
    page.on("pageerror", lambda e: found["console"].append(str(e)))
    page.goto(base + name, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.wait_for_timeout(SETTLE)
    return page, found


def axe_findings(page, *rules):
    """Return axe-core's serious and critical findings, of all its rules or of some."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested by axe-core")
    options = {"preload": False, "resultTypes": ["violations"]}  # preloading would fetch the style sheets a second time
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe.Axe().axe_script)
    found = page.evaluate("options => axe.run(document, options).then(results => results.violations)", options)
    return [
        f"{v['id']}: {node['html'][:90]}"
        for v in found
        if v["impact"] in ("serious", "critical") and v["id"] not in THEME_FINDINGS
        for node in v["nodes"]
    ]


def dead_controls(page):
    """Move every control of every explorer by keyboard; return those that leave the picture as it was."""
    dead = []
    for figure in page.locator("figure.explorer").all():
        before = figure.evaluate(PICTURE)
        for control in figure.locator("input[type=range], input[type=radio]:checked, select").all():
            name = control.get_attribute("aria-label") or control.get_attribute("id")
            control.focus()
            steps = int(control.get_attribute("max") or 1)
            for key in ["ArrowRight"] * steps + ["ArrowLeft"] * 2 * steps:
                page.keyboard.press(key)
                page.wait_for_timeout(40)
                if figure.evaluate(PICTURE) != before:
                    break
            else:
                dead.append(name)
            before = figure.evaluate(PICTURE)
    return dead


def examine(context, base, name):
    """Return what is wrong with a page, by kind; kinds without findings are left out."""
    page, found = open_page(context, base, name)
    found |= page.evaluate(FACTS)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(SETTLE)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found["sideways scroll at 390 px"] = [f"{wide} px"] if wide > 0 else []
    found["inaccessible"] = axe_findings(page, "scrollable-region-focusable")
    found["dead control"] = dead_controls(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.add_style_tag(
        content="*, ::before, ::after { transition: none !important }"
    )  # a colour half way is no finding
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    found |= page.evaluate(FORMULAS)
    page.wait_for_timeout(50)
    found["inaccessible in the dark"] = axe_findings(page, "color-contrast", "link-in-text-block")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_timeout(SETTLE)
    found["inaccessible"] += axe_findings(page)
    page.close()
    return {kind: sorted(set(findings)) for kind, findings in found.items() if findings}


def side_by_side(chromium, pages, look):
    """Return ``look(context, page)`` for each page, by browsers that work at the same time."""
    waiting, found, trouble = queue.SimpleQueue(), {}, []
    for page in pages:
        waiting.put(page)

    def work():
        try:
            with sync_api.sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                context = new_context(browser)
                while not trouble:
                    page = waiting.get_nowait()
                    found[page] = look(context, page)
        except queue.Empty:
            pass
        except BaseException as problem:
            trouble.append(problem)

    workers = [threading.Thread(target=work) for _ in range(BROWSERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if trouble:
        raise trouble[0]
    assert found.keys() == set(pages)
    return found


@pytest.fixture(scope="module")
def largest_first(site, soups):
    return sorted(soups, key=lambda page: -(site / page).stat().st_size)


@pytest.fixture(scope="module")
def examined(chromium, site, largest_first):
    server, base = serve(site)
    yield side_by_side(chromium, largest_first, lambda context, page: examine(context, base, page))
    server.shutdown()


LAWS = (
    "request to another host",
    "request that failed",
    "console",
    "formula left raw",
    "formula with an error",
    "formula in a colour of its own",
    "image without alt",
    "image not loaded",
    "id used twice",
    "sideways scroll at 390 px",
    "inaccessible",
    "inaccessible in the dark",
    "dead control",
)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.timeout(900)  # against a browser that hangs; the pages take half of it on two busy cores
def test_no_page_has(examined, law):
    assert {page: found[law] for page, found in examined.items() if law in found} == {}


@pytest.mark.timeout(400)
def test_the_site_works_from_a_folder(chromium, site, largest_first):
    def look(context, name):
        page, found = open_page(context, site.as_uri() + "/", name)
        found |= page.evaluate(FACTS)
        page.close()
        return {kind: findings for kind, findings in found.items() if findings}

    seen = side_by_side(chromium, largest_first, look)
    assert {name: found for name, found in seen.items() if found} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_reader_gets_the_colours_that_the_system_prefers_at_the_first_visit(browser, site, scheme):
    context = browser.new_context(color_scheme=scheme)
    page, found = open_page(context, site.as_uri() + "/", "index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    levels = [int(v) for v in re.findall(r"\d+", background)[:3]]
    assert max(levels) < 60 if scheme == "dark" else min(levels) > 230
    assert found["console"] == []


def test_on_paper_proofs_are_open_in_light_colours_and_afterwards_all_is_as_before(browser, site):
    context = new_context(browser, "dark")
    page, _ = open_page(context, site.as_uri() + "/", "dual/scalar.html")
    state = (
        "() => [document.documentElement.dataset.theme, document.querySelectorAll('details.fold:not([open])').length]"
    )
    before = page.evaluate(state)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(state) == ["light", 0]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(state) == before
    assert before[0] == "dark"
    assert before[1] > 0
    context.close()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_word_of_a_page(browser, site, scheme):
    server, base = serve(site)
    context = new_context(browser)
    page, found = open_page(context, base if scheme == "http" else site.as_uri() + "/", "search.html?q=verdict")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    page.wait_for_timeout(500)
    links = [urldefrag(a.get_attribute("href"))[0] for a in page.locator("#search-results li a").all()]
    context.close()
    server.shutdown()
    assert any(link.startswith("methods.html") for link in links)
    assert {kind: what for kind, what in found.items() if what} == {}


def test_the_keyboard_reaches_the_content_and_shows_where_it_is(browser, site):
    server, base = serve(site)
    context = new_context(browser)
    page, _ = open_page(context, base, "index.html")
    seen, article = 0, False
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            " const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2;"
            " return [e.tagName, seen, !!e.closest('article')] }"
        )
        seen += outline[0] != "BODY"
        assert outline[1] or outline[0] == "BODY", outline
        article = article or outline[2]
    context.close()
    server.shutdown()
    assert seen > 10
    assert article


# The checks catch what they are for, and the explorer is sound by itself ----------------------------------------------

FAULTS = """<!doctype html><html lang="en"><head><title>Faults</title></head><body><main><h1 id="a">Faults</h1>
<img src="https://example.invalid/picture.png" alt="from elsewhere"><img src="missing.png">
<a href="nowhere.html">gone</a>
<a href="#not-there">gone too</a><span class="math">\\(a\\)</span><p style="width: 800px" id="a">too wide</p>
<button></button><script>throw new Error("planted")</script>
<figure class="explorer"><input type="range" min="0" max="3" value="1" aria-label="a slider that does nothing">
<div class="explorer-stage"><svg></svg></div></figure></main></body></html>"""


def test_each_planted_fault_is_caught(browser, tmp_path):
    (tmp_path / "faults.html").write_text(FAULTS)
    server, base = serve(tmp_path)
    context = new_context(browser)
    found = examine(context, base, "faults.html")
    context.close()
    server.shutdown()
    assert found["request to another host"] == ["https://example.invalid/picture.png"]
    assert found["request that failed"] == [base + "missing.png"]
    assert any("planted" in line for line in found["console"])
    assert found["formula left raw"] == [r"\(a\)"]
    assert found["image without alt"] == ["missing.png"]
    assert found["id used twice"] == ["a"]
    assert found["dead control"] == ["a slider that does nothing"]
    assert "sideways scroll at 390 px" in found
    assert any(line.startswith("button-name") for line in found["inaccessible"])
    soup = {"faults.html": bs4.BeautifulSoup(FAULTS, "html.parser")}
    assert broken_links(tmp_path, soup) == [
        "faults.html: nowhere.html",
        "faults.html: #not-there",
        "faults.html: missing.png",
    ]


T = np.linspace(0, 2, 21)


def spiral(rate, role):
    x, y = np.exp(-rate * T) * np.cos(4 * T), np.exp(-rate * T) * np.sin(4 * T)
    radius = np.where(T > 1.5, np.nan, np.exp(-rate * T))
    return Scene(
        [
            Panel(
                [
                    Circle(0, 0, 1 / (1 + rate), color="outer", label="outer sphere", dash="dashed"),
                    Arrows([0.5, -0.5], [0.5, -0.5], [-0.2, 0.2], [-0.2, 0.2]),
                    Line(x, y, color=role, label="path"),
                    Points([0], [0], color="origin", label="origin"),
                ],
                xlabel="a₁",
                ylabel="a₂",
                xlim=(-1.2, 1.2),
                ylim=(-1.2, 1.2),
                equal=True,
            ),
            Panel([Line(T, radius, color=role)], xlabel="t", ylabel="radius", yscale="log", ylim=(0.01, 2)),
        ],
        f"rate {rate:.2f}",
    )


@pytest.fixture(scope="module")
def spirals(tmp_path_factory):
    """A page with two explorers, and their states."""
    controls = {
        "rate": Slider(np.linspace(0.1, 2, 6), label="rate", spec=".2f"),
        "role": Choice(["sg", "ema"], label="dynamics", texts=["stop-gradient", "moving average"]),
    }
    made = [explorer(spiral, controls, title=f"Spiral {k}", alt=f"A spiral, number {k}.") for k in (1, 2)]
    folder = tmp_path_factory.mktemp("explorers")
    for name in ("explorer.js", "explorer.css", "book.css"):
        shutil.copy(ROOT / "book" / "assets" / name, folder)
    (folder / "index.html").write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><title>Explorers</title>'
        '<link rel="icon" href="data:,"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="book.css"><link rel="stylesheet" href="explorer.css">'
        "<style>html[data-theme=dark] body { background: #14191e; color: #e6e9ed }</style>"
        '<script defer src="explorer.js"></script></head><body><main class="bd-article"><h1>Explorers</h1>'
        + "".join(each.html() for each in made)
        + "</main></body></html>"
    )
    return folder, made[0].states()


def test_two_explorers_on_a_page_are_sound_and_all_their_controls_work(browser, spirals):
    server, base = serve(spirals[0])
    context = new_context(browser)
    found = examine(context, base, "index.html")
    context.close()
    server.shutdown()
    assert found == {}


def test_the_script_draws_the_embedded_data(browser, spirals):
    folder, data = spirals
    context = new_context(browser)
    page, _ = open_page(context, folder.as_uri() + "/", "index.html")
    first = page.locator("figure.explorer").first
    slider = first.locator("input[type=range]")
    for _ in range(2):
        slider.press("ArrowRight")
    page.wait_for_timeout(100)
    place = 2 * (data["controls"][0]["start"] + 2)
    spoken, (frame, *items), _ = data["states"][place]
    assert first.locator("output").inner_text() == data["readouts"][spoken]
    assert slider.get_attribute("aria-valuetext") == data["controls"][0]["texts"][place // 2]
    svg = first.locator("svg").first
    curve = svg.locator(".explorer-content path[stroke='var(--role-sg)']").get_attribute("d")
    drawn = np.array([point.split() for point in re.split("[ML]", curve)[1:]], dtype=float)
    line = next(data["items"][i] for i in items if data["items"][i]["kind"] == "line")
    xy = np.column_stack([data["arrays"][line["x"]], data["arrays"][line["y"]]])
    box = svg.locator("clipPath rect").evaluate("r => ['x', 'y', 'width', 'height'].map(k => +r.getAttribute(k))")
    (x0, x1), (y0, y1) = data["frames"][frame]["xlim"], data["frames"][frame]["ylim"]
    expected = np.column_stack(
        [box[0] + (xy[:, 0] - x0) / (x1 - x0) * box[2], box[1] + (y1 - xy[:, 1]) / (y1 - y0) * box[3]]
    )
    np.testing.assert_allclose(drawn, expected, atol=0.2)
    assert box[2] == pytest.approx(box[3], abs=0.2)  # equal axes
    gap = first.locator("svg").nth(1).locator(".explorer-content path").get_attribute("d")
    assert len(re.findall("[ML]", gap)) == int(np.sum(T <= 1.5))
    context.close()


def test_the_second_explorer_stays_as_it_is_when_the_first_moves(browser, spirals):
    context = new_context(browser)
    page, _ = open_page(context, spirals[0].as_uri() + "/", "index.html")
    one, two = page.locator("figure.explorer").all()
    before = one.evaluate(PICTURE), two.evaluate(PICTURE)
    one.locator("input[type=radio]").nth(1).check(force=True)
    page.wait_for_timeout(100)
    assert one.evaluate(PICTURE) != before[0]
    assert two.evaluate(PICTURE) == before[1]
    context.close()


def test_without_scripts_there_is_a_picture_with_its_words(browser, spirals):
    context = new_context(browser, java_script_enabled=False)
    page = context.new_page()
    page.goto(spirals[0].as_uri() + "/index.html")
    image = page.locator(".explorer-static img").first
    assert image.is_visible()
    assert image.get_attribute("alt") == "A spiral, number 1."
    assert page.locator(".explorer-static p").first.inner_text() == "rate 1.24"
    assert page.locator("figure.explorer input").count() == 0
    context.close()
    scripted = new_context(browser)
    page, _ = open_page(scripted, spirals[0].as_uri() + "/", "index.html")
    assert not page.locator(".explorer-static").first.is_visible()
    scripted.close()
