// Shows times in the customer's own time zone, and what changed of a payment when it changes. Without this script the page renews itself.
"use strict";
(() => {
  const language = document.documentElement.lang;
  const localise = root => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      time.textContent = time.classList.contains("day")
        ? at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" })
        : at.toLocaleTimeString(language, { timeStyle: "short" });
    }
  };
  localise(document);

  const address = document.querySelector("main").dataset.events;
  if (!address || !window.EventSource) return;

  const show = event => {
    const fresh = new DOMParser().parseFromString(event.data, "text/html");
    localise(fresh);
    for (const part of fresh.body.children) {
      const old = document.getElementById(part.id);
      if (old && old.innerHTML.trim() !== part.innerHTML.trim()) old.replaceChildren(...part.childNodes);
    }
    document.title = document.querySelector("h1").textContent;
  };

  let source;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("page", show);
    source.onerror = () => { // the browser comes back by itself, unless it was turned away
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 30000);
    };
  };
  open();
  document.addEventListener("visibilitychange", () => { // phones end what is in the background
    if (!document.hidden && source.readyState === EventSource.CLOSED) open();
  });
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", event => { if (event.persisted) open(); });
})();
