// Whatever scrolls inside itself must be reachable by keyboard: give it a tab stop, and a name that says what it is.
(() => {
  "use strict";
  const BOXES = [["div.highlight pre, div.output pre", "Code"], [".pst-scrollable-table-container", "Table"],
    ["div.math, mjx-container[display='true']", "Formula"], [".explorer-static, .cell_output", "Output"]];
  function mark() {
    for (const [selector, name] of BOXES) {
      for (const box of document.querySelectorAll(selector)) {
        const wide = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
        if (wide && !box.hasAttribute("tabindex")) {
          box.setAttribute("tabindex", "0");
          box.dataset.reach = "";
          if (!box.hasAttribute("role")) { box.setAttribute("role", "region"); box.setAttribute("aria-label", `${name}, scrolls sideways`); }
        } else if (!wide && "reach" in box.dataset) {
          for (const attribute of ["tabindex", "role", "aria-label", "data-reach"]) box.removeAttribute(attribute);
        }
      }
    }
  }
  // A page opened from a folder may not fetch others, so search then lists its hits without their first lines.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  // The theme's folds of the contents have a picture for a name.
  for (const fold of document.querySelectorAll("summary")) {
    if (!fold.textContent.trim() && !fold.hasAttribute("aria-label")) fold.setAttribute("aria-label", "Pages below");
  }
  let waiting = 0;
  const later = () => { clearTimeout(waiting); waiting = setTimeout(mark, 150); };
  addEventListener("resize", later);
  addEventListener("load", () => { mark(); (window.MathJax?.startup?.promise ?? Promise.resolve()).then(later); });
})();
