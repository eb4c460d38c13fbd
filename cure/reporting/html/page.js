document.documentElement.classList.add("js");
const text = (row, place) => row.cells[place].textContent.trim();
const number = (words) => parseFloat((words.match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i) || [])[0]);

function sort(table, place, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, words: text(row, place) }));
  const known = rows.filter(({ words }) => words && words !== "nan");
  const numeric = known.every(({ words }) => /^[-+]?[\d.]/.test(words));
  known.sort((a, b) => (numeric ? number(a.words) - number(b.words) : a.words.localeCompare(b.words, "en", { numeric: true })));
  if (descending) known.reverse();
  body.append(...known.map(({ row }) => row), ...rows.filter((one) => !known.includes(one)).map(({ row }) => row));
  [...table.tHead.rows[0].cells].forEach((cell, i) =>
    cell.setAttribute("aria-sort", i !== place ? "none" : descending ? "descending" : "ascending"));
  if (table.id === "results" && numeric) rank(table, place);
}

function rank(table, place) {
  const values = [...table.tBodies[0].rows].map((row) => number(text(row, place)));
  [...table.tBodies[0].rows].forEach((row, i) => {
    row.cells[0].dataset.rank = isNaN(values[i]) ? "" : 1 + values.filter((value) => value > values[i]).length;
  });
  document.getElementById("ranked").textContent = table.tHead.rows[0].cells[place].textContent.trim();
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const place = heads.findIndex((head) => head === "Method" || head === "Network of");
  if (place < 0) continue;
  for (const row of table.tBodies[0].rows) row.dataset.method ??= text(row, place);
}
const results = document.getElementById("results");
const ranked = [...results.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === "NRR");
rank(results, ranked < 0 ? 1 : ranked);

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0] === undefined || table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((cell, place) => {
    if (!cell.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...cell.childNodes);
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    const right = getComputedStyle(cell).textAlign === "right";
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      sort(table, place, now === "none" ? right : now === "ascending");
    });
  });
}

function unfold(hash) {
  const part = hash.length > 1 && document.getElementById(hash.slice(1))?.querySelector(".part");
  if (part) part.open = true;
}
for (const link of document.querySelectorAll(".bar nav a")) link.addEventListener("click", () => unfold(link.hash));
unfold(location.hash);

for (const block of document.querySelectorAll("details")) {
  addEventListener("beforeprint", () => (block.open = true));
}

// ---- one selected method, everywhere

const views = new Map();
let chosen = null;

function choose(method) {
  chosen = method === chosen ? null : method;
  document.body.classList.toggle("choosing", chosen !== null);
  for (const row of document.querySelectorAll("tr[data-method]")) row.classList.toggle("chosen", row.dataset.method === chosen);
  for (const button of document.querySelectorAll(".pick")) {
    button.setAttribute("aria-pressed", button.closest("tr").dataset.method === chosen);
  }
  for (const view of views.values()) view.signal("chosen", chosen).runAsync();
}

document.addEventListener("click", (event) => {
  const cell = event.target.closest("tr[data-method] > :first-child");
  if (cell && !event.target.closest("a")) choose(cell.parentElement.dataset.method);
});

document.getElementById("find").addEventListener("input", (event) => {
  const terms = event.target.value.toLowerCase().split(",").map((term) => term.trim()).filter(Boolean);
  for (const row of document.querySelectorAll("tr[data-method]")) {
    row.hidden = terms.length > 0 && !terms.some((term) => row.dataset.method.toLowerCase().includes(term));
  }
});

// ---- a cell tells its interval: under the pointer, touched, or reached by the arrows of the keyboard

const tip = document.querySelector(".tip");

function tell(cell) {
  tip.hidden = !cell;
  if (!cell) return;
  tip.textContent = cell.dataset.tip;
  const box = cell.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.bottom + 4 + scrollY}px`;
}

for (const kind of ["pointerover", "focusin", "click"]) {
  document.addEventListener(kind, (event) => tell(event.target.closest("[data-tip]")));
}
document.addEventListener("keydown", (event) => event.key === "Escape" && tell(null));

for (const table of document.querySelectorAll("table:has([data-tip])")) {
  table.querySelector("[data-tip]").tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("[data-tip]");
    if (!step || !cell) return;
    event.preventDefault();
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    let [row, place] = [rows.indexOf(cell.parentElement), cell.cellIndex], next;
    do {
      [row, place] = [row + step[0], place + step[1]];
      next = rows[row]?.cells[place];
    } while (next && next.dataset.tip === undefined);
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

// ---- figures

const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    dialog.querySelector(".whole").replaceChildren(button.firstElementChild.cloneNode(true));
    dialog.showModal();
  });
}
dialog.querySelector("button").addEventListener("click", () => dialog.close());

const dark = matchMedia("(prefers-color-scheme: dark)");
const LEAST = 320; // pixels of a panel

async function draw(box) {
  const spec = JSON.parse(document.getElementById(`spec-${box.dataset.chart}`).textContent);
  const room = box.parentElement.clientWidth;
  if (room < 100) return; // a window that is being closed
  spec.columns = Math.max(1, Math.min(spec.usermeta.panels, spec.columns, Math.floor(room / LEAST)));
  spec.spec.width = Math.floor(room / spec.columns) - 75;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const channels = [spec.spec.encoding, ...spec.spec.layer.map((layer) => layer.encoding ?? {})];
  for (const { color, shape, strokeDash } of channels) {
    if (color && dark.matches) color.scale.range = spec.usermeta.dark;
    for (const one of [color, shape, strokeDash]) if (one?.legend) one.legend.columns = Math.max(2, Math.floor(room / 170));
  }
  const [ink, rule, font] = [colour("--ink"), colour("--rule"), "system-ui, sans-serif"];
  const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, labelFont: font, titleFont: font };
  const config = {
    background: "transparent", font, view: { stroke: rule }, header: text, legend: text,
    axis: { ...text, gridColor: rule, domainColor: ink, tickColor: ink }, text: { color: ink },
  };
  const made = await vegaEmbed(box, spec, { actions: false, renderer: "svg", config, tooltip: { theme: dark.matches ? "dark" : "light" } });
  made.view.addEventListener("click", (event, item) => {
    const method = item?.datum?.method ?? item?.datum?.value;
    if (document.querySelector(`tr[data-method="${CSS.escape(method ?? "")}"]`)) choose(method);
  });
  views.set(box.dataset.chart, made.view);
  if (chosen) made.view.signal("chosen", chosen).runAsync();
}

async function drawAll() {
  for (const box of document.querySelectorAll("[data-chart]")) await draw(box);
  document.documentElement.dataset.drawn = "yes";
}
drawAll();
dark.addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  drawAll();
});

// ---- where in the page

const links = new Map([...document.querySelectorAll(".bar nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    for (const [name, link] of links) name === target.id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}, { rootMargin: "-10% 0px -85% 0px" });
for (const name of links.keys()) seen.observe(document.getElementById(name));
