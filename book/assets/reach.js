// Whatever scrolls inside itself must be reachable by keyboard: give it a tab stop, and a name that says what it is.
// While there is more to its right it says so (data-more), and its edge fades.
(() => {
  "use strict";
  const BOXES = [["div.highlight pre, div.output pre", "Code"], [".pst-scrollable-table-container", "Table"],
    ["div.math, mjx-container[display='true']", "Formula"], [".explorer-static, .cell_output", "Output"],
    [".picture", "Figure"], [".claims-graph-frame", "Graph"]];
  const more = (box) => box.toggleAttribute("data-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  // A phone shows a picture no smaller than its words can be read (book.css).
  const measure = () => {
    for (const image of document.querySelectorAll(".picture > img")) {
      image.style.setProperty("--natural-width", `${image.naturalWidth}px`);
      image.parentNode.toggleAttribute("data-wide", image.naturalWidth > 700);
    }
  };
  const watched = new WeakSet();
  function mark() {
    for (const [selector, name] of BOXES) {
      for (const box of document.querySelectorAll(selector)) {
        const wide = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
        if (wide && !watched.has(box)) {
          watched.add(box);
          box.addEventListener("scroll", () => more(box), { passive: true });
        }
        if (wide) more(box);
        else box.removeAttribute("data-more");
        if (wide && box.tabIndex < 0) { // the theme has given -1 to what did not scroll when the page opened
          box.setAttribute("tabindex", "0");
          box.dataset.reach = "";
          if (!box.hasAttribute("role")) { box.setAttribute("role", "group"); box.setAttribute("aria-label", `${name}, scrolls sideways`); }
        } else if (!wide && "reach" in box.dataset) {
          for (const attribute of ["tabindex", "role", "aria-label", "data-reach"]) box.removeAttribute(attribute);
        }
      }
    }
  }
  // A page opened from a folder may not fetch others, so search then lists its hits without their first lines.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  // The theme writes no mode for a reader who has not chosen one, and then warns of it.
  if (!document.documentElement.dataset.mode) document.documentElement.dataset.mode = "auto";
  // The theme's folds of the contents have a picture for a name.
  for (const fold of document.querySelectorAll("summary")) {
    if (!fold.textContent.trim() && !fold.hasAttribute("aria-label")) fold.setAttribute("aria-label", "Pages below");
  }
  // On paper a fold can't be opened, and the dark has no ground: proofs and solutions are printed, in the light colours.
  const page = document.documentElement;
  addEventListener("beforeprint", () => {
    page.dataset.screenTheme = page.dataset.theme;
    page.dataset.theme = "light";
    for (const fold of document.querySelectorAll("details.fold:not([open])")) { fold.open = true; fold.dataset.printed = ""; }
  });
  addEventListener("afterprint", () => {
    page.dataset.theme = page.dataset.screenTheme;
    for (const fold of document.querySelectorAll("details[data-printed]")) { fold.open = false; delete fold.dataset.printed; }
  });
  for (const fold of document.querySelectorAll("article details")) fold.addEventListener("toggle", () => later());
  let waiting = 0;
  const later = () => { clearTimeout(waiting); waiting = setTimeout(mark, 150); };
  addEventListener("resize", later);
  addEventListener("load", () => { measure(); mark(); (window.MathJax?.startup?.promise ?? Promise.resolve()).then(later); });
})();
