"use strict";
(function () {
  const table = document.querySelector("#patients"), heads = Array.from(table.tHead.rows[0].cells);
  document.querySelectorAll(".script-only").forEach((part) => { part.hidden = false; });

  function sort(column, sign) {
    const numeric = heads[column].dataset.kind === "number";
    const value = (row) => row.cells[column].dataset.value;
    const rows = Array.from(table.tBodies[0].rows).sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") { return (x === "") - (y === ""); }  // what has no value comes last either way
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows);
    heads.forEach((head, index) => {
      if (index === column) { head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending"); }
      else { head.removeAttribute("aria-sort"); }
    });
  }

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) { return; }
    button.addEventListener("click", () => {
      const first = head.dataset.kind === "number" ? -1 : 1, now = head.getAttribute("aria-sort");
      const sign = now === null ? first : now === "ascending" ? -1 : 1;
      sort(column, sign);
      document.querySelector("#live").textContent = `Sorted by ${button.textContent}, ${sign > 0 ? "lowest" : "highest"} first`;
    });
  });
  document.documentElement.dataset.ready = "yes";
})();
