"use strict";
(function () {
  const root = document.documentElement;
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const one = (selector) => document.querySelector(selector);
  const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const announce = (text) => { one("#live").textContent = text; };

  // The address keeps the view, so that it can be linked to: #metric=aupro&sort=aupro&dir=desc&subset=F&theme=dark
  function remember(name, value) {
    if (value) { state.set(name, value); } else { state.delete(name); }
    try { history.replaceState(null, "", "#" + state.toString()); } catch (error) { /* pages in a sandbox keep no history */ }
  }

  function choose(select, name) {
    if (!select) { return; }
    const wanted = state.get(name);
    if (wanted === null) { return; }
    // A plus sign typed into an address arrives as a space: F+T1 and F%2BT1 are both understood.
    const options = Array.from(select.options).map((option) => option.value);
    const found = [wanted, wanted.replaceAll(" ", "+")].find((value) => options.includes(value));
    if (found !== undefined) { select.value = found; }
  }

  const metric = one("#pick-metric"), test = one("#pick-test");
  const subset = one("#pick-subset"), words = one("#pick-words");

  function showBlocks() {
    all("[data-block-metric], [data-block-test]").forEach((block) => {
      const m = block.dataset.blockMetric, t = block.dataset.blockTest;
      block.hidden = Boolean((m && metric && m !== metric.value) || (t && test && t !== test.value));
    });
    filterRows();
  }

  function filterRows() {
    const text = words ? words.value.trim().toLowerCase() : "";
    let shown = 0;
    all("table.sortable tbody tr").forEach((row) => {
      const hide = (subset && subset.value && row.dataset.subset !== subset.value)
        || (test && row.dataset.test !== test.value)
        || (text && !row.dataset.name.toLowerCase().includes(text));
      row.hidden = Boolean(hide);
      shown += hide ? 0 : 1;
    });
    const count = one("#row-count");
    if (count) { count.textContent = shown + (shown === 1 ? " row" : " rows"); }
  }

  function showColumns() {
    all("input[data-column]").forEach((box) => {
      all("table.sortable [data-of]").forEach((cell) => {
        if (cell.dataset.of === box.dataset.column) { cell.classList.toggle("gone", !box.checked); }
      });
    });
  }

  function sortBy(key, direction) {
    all("table.sortable").forEach((table) => {
      const heads = all("thead th", table);
      const column = heads.findIndex((head) => head.dataset.sort === key);
      if (column < 0) { return; }
      const body = table.tBodies[0], sign = direction === "asc" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value || "";
      const numeric = heads[column].dataset.kind === "number";
      const rows = Array.from(body.rows);
      rows.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") { return (x === "") - (y === ""); }
        return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
      });
      rows.forEach((row) => body.appendChild(row));
      heads.forEach((head, index) => {
        if (index === column) { head.setAttribute("aria-sort", direction === "asc" ? "ascending" : "descending"); }
        else { head.removeAttribute("aria-sort"); }
      });
    });
  }

  all("table.sortable thead th[data-sort] button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.closest("th"), now = head.getAttribute("aria-sort");
      const first = head.dataset.kind === "number" ? "desc" : "asc";
      const next = now === null ? first : now === "ascending" ? "desc" : "asc";
      sortBy(head.dataset.sort, next);
      remember("sort", head.dataset.sort);
      remember("dir", next);
      announce("Sorted by " + button.textContent + ", " + (next === "asc" ? "lowest first" : "highest first"));
    });
  });

  const theme = one("#theme");
  function dark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function nameTheme() { theme.textContent = dark() ? "Light theme" : "Dark theme"; }
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    nameTheme();
  });

  function restore() {
    const wanted = state.get("theme");
    if (wanted === "dark" || wanted === "light") { root.dataset.theme = wanted; }
    choose(metric, "metric"); choose(test, "test"); choose(subset, "subset");
    if (words && state.get("find")) { words.value = state.get("find"); }
    const columns = state.get("columns");
    if (columns !== null) {
      const kept = columns.split(",");
      all("input[data-column]").forEach((box) => { box.checked = kept.includes(box.dataset.column); });
    }
    nameTheme(); showColumns(); showBlocks();
    if (state.get("sort")) { sortBy(state.get("sort"), state.get("dir") === "asc" ? "asc" : "desc"); }
  }

  if (metric) { metric.addEventListener("change", () => { remember("metric", metric.value); showBlocks(); }); }
  if (test) { test.addEventListener("change", () => { remember("test", test.value); showBlocks(); }); }
  if (subset) { subset.addEventListener("change", () => { remember("subset", subset.value); filterRows(); }); }
  if (words) { words.addEventListener("input", () => { remember("find", words.value.trim()); filterRows(); }); }
  all("input[data-column]").forEach((box) => box.addEventListener("change", () => {
    const boxes = all("input[data-column]"), kept = boxes.filter((b) => b.checked).map((b) => b.dataset.column);
    remember("columns", kept.length === boxes.length ? "" : kept.join(",") || "none");
    showColumns();
  }));
  // A link to a section must not throw the view away.
  all("nav.bar a").forEach((link) => link.addEventListener("click", (event) => {
    const target = one(link.getAttribute("href"));
    if (target) { event.preventDefault(); target.scrollIntoView(); target.focus({ preventScroll: true }); }
  }));
  addEventListener("beforeprint", () => all("details.slice").forEach((item) => { item.open = true; }));
  restore();
  const to = state.get("to");
  if (to && /^[a-z]+$/.test(to) && one("#" + to)) { one("#" + to).scrollIntoView({ behavior: "instant" }); }
  root.dataset.ready = "yes";
})();
