// A heading's button sorts its table, by number where cells begin with one; pressed again, it turns it around.
for (const heading of document.querySelectorAll("thead th")) {
  const table = heading.closest("table");
  if (!heading.textContent || table.tBodies.length !== 1 || table.querySelector("tbody [colspan]")) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.title = "sort";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const place = heading.cellIndex, falls = heading.ariaSort === "ascending";
    const key = (row) => row.cells[place].textContent.trim();
    const number = (text) => parseFloat(text.replace(/,/g, "").replace(/^[^\d+.\-]+/, ""));
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [first, second] = [number(key(a)), number(key(b))];
      const order = isNaN(first) || isNaN(second) ? key(a).localeCompare(key(b)) : first - second;
      return falls ? -order : order;
    });
    for (const other of heading.parentNode.cells) other.ariaSort = null;
    heading.ariaSort = falls ? "descending" : "ascending";
    table.tBodies[0].append(...rows);
  });
}
