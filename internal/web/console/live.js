// Shows what has changed since the page was made. Without this script the page stays as it is until it is asked for again.
"use strict";
(() => {
  const main = document.querySelector("main");
  let stale = false, asking = false;

  // Who fills in a form, goes through the page by keyboard or marks some text is not disturbed.
  const busy = () => main.contains(document.activeElement) || main.querySelector("details[open]") || !getSelection().isCollapsed;

  // Each copy of a page has another secret in its forms, which is no change.
  const text = part => part.outerHTML.replace(/(name="once" value=")[^"]*/g, "$1");

  const show = fresh => {
    const was = [...main.children], is = [...fresh.children];
    if (was.length !== is.length) return main.replaceChildren(...is);
    was.forEach((part, i) => { if (text(part) !== text(is[i])) part.replaceWith(is[i]); });
  };

  const renew = async () => {
    if (!stale || asking || busy()) return;
    stale = false;
    asking = true;
    try {
      const answer = await fetch(location.href);
      const page = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page && page.querySelector("main[data-live]");
      if (fresh) document.title = page.title; // it counts what needs attention, also for a window in the background
      if (fresh && busy()) stale = true;
      else if (fresh) show(fresh);
    } catch { // the stream will say when there is something new
    } finally {
      asking = false;
    }
  };

  let source;
  const listen = () => {
    source = new EventSource("/operator/live");
    source.addEventListener("changed", () => { stale = true; renew(); });
  };
  if (!document.hidden) listen();
  document.addEventListener("visibilitychange", () => { // a browser has few connections for all of its windows
    source?.close();
    if (document.hidden) return;
    stale = true;
    listen();
    renew();
  });
  for (const event of ["selectionchange", "focusout", "toggle"]) {
    document.addEventListener(event, () => setTimeout(renew, 1000), true);
  }
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
})();
