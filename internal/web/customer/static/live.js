// Shows times in the customer's own time zone, what changed of a payment when it changes, and another page when a wait is over. Without this script
// pages renew themselves.
"use strict";
(() => {
  const language = document.documentElement.lang;
  const localise = root => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const today = at.toDateString() === new Date().toDateString();
      time.textContent = today && !time.classList.contains("day")
        ? at.toLocaleTimeString(language, { timeStyle: "short" })
        : at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    }
  };
  localise(document);

  const main = document.querySelector("main");
  const seconds = Number(main.dataset.seconds);
  const renew = async () => { // loads the page anew only if it has changed: who has it read out would hear it from the top each time
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(fresh);
      const now = fresh.querySelector("main");
      if (answer.type === "opaqueredirect" || (now && now.innerHTML !== main.innerHTML)) return location.reload();
    } catch { /* it could not be asked for: later */ }
    setTimeout(renew, seconds * 1000);
  };
  if (seconds) setTimeout(renew, seconds * 1000);

  const address = main.dataset.events;
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
