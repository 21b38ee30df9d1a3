// Keeps the page as the gateway is: asks anew for what is in view, and lays the answer over what is there. The page is
// whole without it; it changes nothing but the page.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const search = $("#q");
const lost = $("#lost");

// === laying one element over another: what is the same stays, so that focus, selection and scrolling do too

function lay(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName || now.id !== next.id) {
    now.replaceWith(next);
    return;
  }
  if (now.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  if (now.isEqualNode(next)) return;
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && name !== "open" && name !== "tabindex") now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value && name !== "open") now.setAttribute(name, value);
  }
  const [mine, theirs] = [[...now.childNodes], [...next.childNodes]];
  theirs.forEach((child, at) => (at < mine.length ? lay(mine[at], child) : now.append(child)));
  mine.slice(theirs.length).forEach((child) => child.remove());
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function layAll(page) {
  for (const next of $$("[data-live]", page)) {
    const now = document.getElementById(next.id);
    if (now) lay(now, next);
  }
  watch();
}

// === what is in view is asked for, and nothing else: a thousand cards cost as much as ten

const inView = new Set();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inView.add(target.id);
    else inView.delete(target.id);
  }
});
const watched = new WeakSet();

function watch() {
  for (const part of $$("[data-live]")) {
    if (!watched.has(part)) {
      watched.add(part);
      observer.observe(part);
    }
  }
}

let busy = false;

async function refresh() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const ids = [...inView].filter((id) => document.getElementById(id)).slice(0, 60);
    layAll(await ask("/page/live?ids=" + encodeURIComponent(ids.join(","))));
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
  busy = false;
}

// The stream says when to look. Where it breaks, the browser opens it again, and the clock stands in for it.
const stream = new EventSource("/events");
for (const kind of ["status", "splits"]) stream.addEventListener(kind, refresh);
stream.onerror = refresh;
let ticks = 0;
setInterval(() => {
  ticks += 1;
  // Ages go on where nothing happens.
  if (stream.readyState !== EventSource.OPEN || ticks % 5 === 0) refresh();
}, 2000);
document.addEventListener("visibilitychange", refresh);

// === search: what is typed narrows splits, endpoints and routes

let typed;

async function narrow() {
  const q = search.value.trim();
  const query = q ? "?q=" + encodeURIComponent(q) : "";
  try {
    const page = await ask("/page/found" + query);
    if (search.value.trim() !== q) return;
    for (const next of $$("section", page)) $("#" + next.id).replaceWith(next);
    history.replaceState(null, "", (query || "/") + location.hash);
    inView.clear();
    watch();
  } catch {
    lost.hidden = false;
  }
}

search.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(narrow, 120);
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  narrow();
});

// === keys

const keys = $("#keys");
const stops = () => $$("article.card, .group, .list tbody tr").filter((stop) => stop.checkVisibility());

function step(by) {
  const all = stops();
  const at = all.findIndex((stop) => stop.contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
  if (!next) return;
  next.tabIndex = -1;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === search) {
    search.value = "";
    narrow();
    search.blur();
  } else if (typing) {
    if (event.key === "ArrowDown" && event.target === search) step(1);
    else return;
  } else if (event.key === "/") search.focus();
  else if (event.key === "?") keys.showModal();
  else if (event.key === "ArrowDown" || event.key === "j") step(1);
  else if (event.key === "ArrowUp" || event.key === "k") step(-1);
  else if (event.key === "Enter" && event.target.matches("article, .group, tr")) {
    const link = $("a", event.target);
    if (link) link.click();
    return;
  } else return;
  event.preventDefault();
});

watch();
