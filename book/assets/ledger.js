// Filters of the ledger: by paper, verdict and words. The form is in the page but hidden until this script serves it.
(() => {
  "use strict";
  const ledger = document.querySelector(".claims-ledger");
  if (!ledger) return;
  const form = ledger.querySelector(".claims-filters");
  const shown = ledger.querySelector(".claims-shown");
  const rows = [...ledger.querySelectorAll("tbody tr")];
  const paper = form.querySelector("#claims-paper");
  const verdict = form.querySelector("#claims-verdict");
  const search = form.querySelector("#claims-search");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const keep =
        (!paper?.value || row.dataset.paper === paper.value) &&
        (!verdict?.value || row.dataset.verdict === verdict.value) &&
        words.every((word) => row.dataset.search.includes(word));
      row.hidden = !keep;
      count += keep;
    }
    shown.textContent = count === rows.length ? `${count} claims` : `${count} of ${rows.length} claims`;
  };

  // A link to a row that the filters hide shows everything again.
  const follow = () => {
    const row = rows.find((candidate) => `#${candidate.id}` === decodeURIComponent(location.hash));
    if (row && row.hidden) {
      form.reset();
      setTimeout(() => row.scrollIntoView());
    }
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  window.addEventListener("hashchange", follow);
  form.hidden = false;
  filter();
})();
