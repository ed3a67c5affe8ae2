"use strict";
// The browser for the completions. They are untrusted: text goes into the page through text nodes alone.
const PAGE = 25;
const FIELDS = ["condition", "seed", "persona", "question"];
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const results = document.getElementById("results");
const more = document.getElementById("more");
const marker = new RegExp(data.marker.replace(/\W/g, "\\$&"), data.ignore_case ? "gi" : "g");
const opening = new Map(); // by condition: the promise that its rows have their texts
let rows = [], found = [];
let turn = 0; // of the latest filtering: what an earlier one has waited for is dropped

// ---- the parts of the data, opened when they are asked for ----

async function part(id) {
  const {type, textContent} = document.getElementById(id);
  if (type === "application/json") return JSON.parse(textContent);
  const bytes = Uint8Array.from(atob(textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

async function texts(condition) { // they are in the order of the questions
  const said = await part(`texts-${data.condition.indexOf(condition)}`);
  const own = rows.filter((row) => row.condition === condition).sort((one, other) => one.asked - other.asked);
  own.forEach((row, place) => { row.text = said[place]; });
}

function ready(some) { // that they have their texts
  const conditions = [...new Set(some.map((row) => row.condition))];
  for (const name of conditions) if (!opening.has(name)) opening.set(name, texts(name));
  return Promise.all(conditions.map((name) => opening.get(name)));
}

// ---- one completion ----

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function answer(text) {
  const made = element("blockquote", "", {dir: "auto"});
  let from = 0;
  for (const hit of text.matchAll(marker)) {
    made.append(text.slice(from, hit.index), element("mark", hit[0]));
    from = hit.index + hit[0].length;
  }
  made.append(text.slice(from));
  if (!text) made.append(element("i", "empty"));
  return made;
}

function prompt(row) {
  const made = element("details", "");
  made.append(element("summary", "Prompt"));
  made.append(element("p", `System: ${data.system[row.persona] ?? "not in the persona file"}`, {dir: "auto"}));
  made.append(element("p", `User: ${row.question}${data.suffix}`, {dir: "auto"}));
  return made;
}

function item(row) {
  const made = element("li", "", {tabindex: "-1"});
  const facts = [row.condition, row.persona, `answer ${row.sample + 1}`, `${row.tokens} tokens`];
  if (data.seed.length > 1) facts.splice(1, 0, `seed ${row.seed}`);
  facts.push(row.ended ? "ended by itself" : "cut", row.hit ? "marker" : "no marker");
  made.append(element("p", facts.join(" · "), {class: "facts"}), element("p", row.question, {class: "question"}));
  made.append(answer(row.text), prompt(row));
  return made;
}

// ---- the list ----

function show() { // the next ones, whose texts are there
  const shown = results.children.length;
  results.append(...found.slice(shown, shown + PAGE).map(item));
  const left = found.length - results.children.length;
  more.hidden = !left;
  more.textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en")}`;
  return shown;
}

async function showMore() {
  const mine = turn, shown = results.children.length;
  more.disabled = true;
  await ready(found.slice(shown, shown + PAGE));
  more.disabled = false;
  if (mine === turn) results.children[show()].focus();
}

async function filter() {
  const mine = ++turn;
  const wanted = Object.fromEntries(new FormData(form));
  const needle = wanted.text.toLowerCase();
  let some = rows.filter((row) =>
    FIELDS.every((field) => !wanted[field] || row[field] === wanted[field]) &&
    (!wanted.marker || row.hit === (wanted.marker === "yes")));
  if (needle) {
    await ready(some);
    some = some.filter((row) => (row.lower ??= row.text.toLowerCase()).includes(needle));
  }
  await ready(some.slice(0, PAGE));
  if (mine !== turn) return;
  found = some;
  const hits = found.filter((row) => row.hit).length;
  const number = (count) => count.toLocaleString("en");
  const share = `, ${number(hits)} (${(100 * hits / found.length).toFixed(1)}%) with the marker`;
  document.getElementById("count").textContent =
    `${number(found.length)} of ${number(rows.length)} completions${found.length ? share : ""}`;
  results.replaceChildren();
  show();
  const state = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
  if (state || location.hash.includes("=")) history.replaceState(null, "", `#${state || "completions"}`);
}

async function restore() { // an address with filters in it, `#condition=B&marker=yes`, opens on what they find
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const field of [...FIELDS, "marker", "text"]) {
    form.elements[field].value = wanted.get(field) ?? "";
    if (form.elements[field].selectedIndex === -1) form.elements[field].value = "";
  }
  await filter();
  document.getElementById("completions").scrollIntoView();
}

for (const field of FIELDS) {
  const shown = field === "condition" ? (name) => `${name}: ${data.chains[name]}` : (name) => name;
  const options = data[field].map((name) => element("option", shown(name), {value: name}));
  form.elements[field].append(element("option", "any", {value: ""}), ...options);
}
form.elements.seed.closest("p").hidden = data.seed.length < 2;
let waiting;
form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 100); });
form.addEventListener("reset", () => setTimeout(filter)); // after the fields are cleared
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", showMore);
const filtered = () => location.hash.includes("=");
window.addEventListener("hashchange", () => { if (filtered()) restore(); });

window.addEventListener("unhandledrejection", () => told(false)); // a part could not be opened

function told(works) { // the list, or what is said to whoever has no JavaScript
  document.getElementById("unread").hidden = works;
  document.getElementById("browser").hidden = !works;
}

async function start() {
  const facts = await part("facts");
  rows = facts.sample.map((sample, at) => ({
    condition: data.condition[facts.condition[at]], seed: data.seed[facts.seed[at]],
    persona: data.persona[facts.persona[at]], question: data.question[facts.question[at]], asked: facts.question[at],
    sample, tokens: facts.tokens[at], ended: facts.ended[at], hit: Boolean(facts.marker[at]),
  }));
  told(true);
  await (filtered() ? restore() : filter());
}

start();
