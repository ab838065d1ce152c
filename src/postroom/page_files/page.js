"use strict";
const MOST = 500;
const messages = JSON.parse(document.getElementById("messages").textContent);
const [list, more, filter] = ["list", "more", "filter"].map((id) => document.getElementById(id));
let found = messages;

function fill() {
  const wanted = filter.value.trim().toLowerCase();
  found = messages.filter(([name, ...words]) => words.join(" ").toLowerCase().includes(wanted));
  list.replaceChildren(...found.slice(0, MOST).map(([name, to, address, subject]) => {
    const link = document.createElement("a"), item = document.createElement("li");
    link.href = `#${name}`;
    link.append(...[["b", to || address], ["small", subject]].map(([tag, text]) => {
      const line = document.createElement(tag);
      line.textContent = text;
      line.dir = "auto";
      return line;
    }));
    link.title = address;
    item.append(link);
    return item;
  }));
  const left = found.length - MOST;
  more.hidden = left <= 0 && found.length > 0;
  more.textContent = found.length ? `and ${left.toLocaleString()} more: type to find them` : "None matches.";
  mark();
}

function current() {
  const name = location.hash.slice(1);
  return messages.find((message) => message[0] === name) || messages[0];
}

function frame(place, source, title) {
  const desk = document.querySelector(`#${place} .desk`);
  if (!source) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = messages.length ? "There is no HTML in this message." : "No mail yet.";
    return desk.replaceChildren(empty);
  }
  // A new frame each time: setting the source of an old one would fill the browser's history.
  const inner = document.createElement("iframe");
  // Nothing runs in either. Pictures and attachments are files beside this page, which only a frame of the same origin may open.
  inner.setAttribute("sandbox", place === "words" ? "allow-same-origin allow-popups allow-popups-to-escape-sandbox" : "allow-same-origin");
  inner.title = title;
  inner.src = source;
  desk.replaceChildren(inner);
}

function show() {
  const message = current();
  if (!message) return frame("mail");
  const [name, to, address, subject, hasHtml] = message;
  frame("mail", hasHtml && `messages/${name}.html`, `The HTML for ${address}`);
  frame("words", `messages/${name}.words.html`, `Headers and plain text for ${address}`);
  mark();
}

function mark() {
  const message = current();
  for (const link of list.querySelectorAll("a")) {
    const chosen = message && link.hash === `#${message[0]}`;
    chosen ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    if (chosen) link.scrollIntoView({block: "nearest"});
  }
  const at = found.indexOf(message);
  document.getElementById("previous").disabled = at <= 0;
  document.getElementById("next").disabled = at < 0 ? !found.length : at >= found.length - 1;
}

function step(by) {
  const at = found.indexOf(current()), next = found[at < 0 ? 0 : at + by];
  if (next) location.hash = next[0];
}

function width(phone) {
  document.body.classList.toggle("phone", phone);
  document.getElementById("phone").setAttribute("aria-pressed", String(phone));
  document.getElementById("desktop").setAttribute("aria-pressed", String(!phone));
}

document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
document.getElementById("desktop").addEventListener("click", () => width(false));
document.getElementById("phone").addEventListener("click", () => width(true));
filter.addEventListener("input", fill);
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.target === filter || event.ctrlKey || event.metaKey || event.altKey) return;
  const by = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
  if (by) {
    event.preventDefault();
    step(by);
  }
});
fill();
show();
