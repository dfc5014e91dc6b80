// Makes the page live. Without this file the page still works, and reloads after each click.
"use strict";

const mostLines = 100;
const lines = document.getElementById("lines");

const number = (line) => Number(line.id.replace("line-", ""));

// put shows an element that the server rendered: in the place of the one with its id, or as a new line in its order.
function put(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  const old = document.getElementById(fresh.id);
  if (!old) {
    fresh.classList.add("fresh");
    lines.insertBefore(fresh, [...lines.children].find((line) => number(line) < number(fresh)) ?? null);
    while (lines.children.length > mostLines) lines.lastElementChild.remove();
    return;
  }
  for (const open of old.querySelectorAll("details[open]")) {
    const same = [...fresh.querySelectorAll("details")].find((d) => d.id === open.id);
    if (same) same.open = true;
  }
  if (old.isEqualNode(fresh)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceWith(fresh);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

const { run, sequence } = document.body.dataset;
const source = new EventSource("/demo/events?after=" + sequence);
source.addEventListener("run", (e) => { if (e.data !== run) location.reload(); });
source.addEventListener("fragment", (e) => put(e.data));
source.addEventListener("line", (e) => put(e.data));
source.addEventListener("open", () => { document.body.dataset.live = "yes"; });
source.addEventListener("error", () => { document.body.dataset.live = "no"; });
window.addEventListener("pagehide", () => source.close());
window.addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

document.addEventListener("submit", (e) => {
  const form = e.target;
  if (!("live" in form.dataset)) return;
  e.preventDefault();
  fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form, e.submitter)), redirect: "manual" })
    .catch(() => form.submit());
});

// On a wide screen the customer's phone is a small window beside this one.
document.addEventListener("click", (e) => {
  const link = e.target.closest("a[data-phone]");
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey || !matchMedia("(min-width: 60rem)").matches) return;
  const phone = window.open(link.href, link.target, "popup,width=400,height=760");
  if (phone) {
    e.preventDefault();
    phone.focus();
  }
});
