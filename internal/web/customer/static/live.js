// Shows times in the customer's own format, counts down, shows what changed, and says when the connection is lost. Without this script pages
// renew themselves.
"use strict";
(() => {
  const main = document.querySelector("main");
  const words = document.documentElement.lang;
  const languages = navigator.languages || [navigator.language];
  const digits = main.dataset.digits ? "-u-nu-" + main.dataset.digits : "";
  const locale = (languages.find(tag => tag.split("-")[0] === words.split("-")[0]) || words).split("-u-")[0] + digits;
  const figure = (n, style) => new Intl.NumberFormat(locale, style).format(n);
  const zone = main.dataset.zone; // where the machine stands
  const formatted = (at, style) => {
    try {
      return new Intl.DateTimeFormat(locale, { ...style, timeZone: zone }).format(at);
    } catch {
      return new Intl.DateTimeFormat(words, style).format(at); // a zone that this browser does not know
    }
  };
  const clock = at => formatted(at, { timeStyle: "short" });
  const localise = root => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const today = formatted(at, { dateStyle: "short" }) === formatted(new Date(), { dateStyle: "short" });
      time.textContent = today && !time.classList.contains("day")
        ? clock(at) : formatted(at, { dateStyle: "medium", timeStyle: "short" });
    }
  };

  // The service's time, whatever this clock says.
  let ahead = 0;
  const heard = at => {
    if (at) ahead = at - Date.now();
    last = Date.now();
    broken = 0;
    lost(false);
  };
  let last = Date.now(), broken = 0, reopened = 0;
  const renews = () => document.getElementById("renews");
  const lost = is => {
    const line = renews();
    if (!line || is === line.classList.contains("lost")) return;
    if (is) line.dataset.said = line.textContent;
    line.classList.toggle("lost", is);
    line.setAttribute("role", "status");
    line.textContent = is ? main.dataset.lost.replace("{time}", clock(last)) : line.dataset.said;
  };

  // A notification where the customer allowed one, and else the tab's title and a vibration.
  let armed = false;
  const bells = () => {
    for (const button of document.querySelectorAll("#bell button")) {
      button.hidden = false;
      button.onclick = async () => {
        armed = true;
        button.disabled = true;
        button.textContent = button.dataset.told;
        try {
          if (window.Notification && Notification.permission === "default") await Notification.requestPermission();
          if (window.Notification && Notification.permission === "granted") await navigator.serviceWorker.register("/static/notify.js");
        } catch { /* the title and the vibration are left */ }
      };
    }
  };
  const tell = async text => {
    if (!armed) return;
    armed = false;
    const machine = document.querySelector(".machine");
    const whole = machine ? machine.textContent + ": " + text : text;
    document.title = "\u25cf " + whole;
    if (navigator.vibrate) navigator.vibrate([300, 150, 300]);
    try {
      if (!window.Notification || Notification.permission !== "granted") return;
      const worker = await navigator.serviceWorker.getRegistration("/static/");
      await worker.showNotification(whole, { tag: "notepay", data: main.dataset.next || location.pathname });
    } catch { /* as above */ }
  };

  // The countdown. It is spoken at a few times only.
  const spoken = [30, 10, 5, 2, 1];
  let before = Infinity;
  const tick = () => {
    const box = document.querySelector(".clock");
    if (!box) return;
    const from = new Date(box.dataset.from), until = new Date(box.dataset.until);
    const left = Math.max(0, until - Date.now() - ahead), seconds = Math.ceil(left / 1000);
    box.querySelector(".left").setAttribute("stroke-dasharray", (100 * left / Math.max(1, until - from)).toFixed(2) + " 100");
    if (seconds < 86400) {
      const one = n => figure(n, { useGrouping: false }), two = n => figure(n, { minimumIntegerDigits: 2 }), hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
      box.querySelector(".count").textContent = (hours ? one(hours) + ":" + two(minutes) : one(minutes)) + ":" + two(seconds % 60);
    }
    const passed = spoken.find(n => seconds <= n * 60 && before > n * 60 && before < Infinity);
    if (passed) {
      document.getElementById("spoken").textContent = box.querySelector("p").textContent.replace(box.querySelector(".count").textContent,
        figure(passed, { style: "unit", unit: "minute", unitDisplay: "long" }));
    }
    if (seconds === 0 && before > 0 && box.dataset.over) tell(box.dataset.over);
    before = seconds;
  };

  heard(Number(main.dataset.now));
  localise(document);
  bells();
  tick();
  setInterval(tick, 1000);
  window.addEventListener("pageshow", event => { if (event.persisted && !main.dataset.events) location.reload(); });

  const seconds = Number(main.dataset.seconds);
  const next = main.dataset.next;
  const renew = async () => { // replaces the page only if it has changed: a screen reader would read it out from the top each time
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (next && (answer.type === "opaqueredirect" || answer.ok)) {
        tell(main.dataset.free);
        return setTimeout(() => location.assign(next), 1000);
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(fresh);
      const now = fresh.querySelector("main"), told = fresh.getElementById("told"), old = document.getElementById("told");
      if (answer.type === "opaqueredirect") return location.reload();
      if (now && told && old) {
        heard(Number(now.dataset.now));
        if (!next && told.innerHTML !== old.innerHTML) return location.reload();
        if (told.innerHTML !== old.innerHTML) old.replaceChildren(...told.childNodes);
      }
    } catch {
      lost(true);
    }
    setTimeout(renew, seconds * 1000);
  };
  if (seconds) setTimeout(renew, seconds * 1000);

  const address = main.dataset.events;
  if (!address || !window.EventSource) return;

  const show = event => {
    const fresh = new DOMParser().parseFromString(event.data, "text/html");
    localise(fresh);
    const title = document.querySelector("h1").textContent, ran = document.querySelector(".clock[data-over]");
    for (const part of fresh.body.children) {
      const old = document.getElementById(part.id);
      if (!old || part.id === "spoken") continue;
      const was = old.firstElementChild, is = part.firstElementChild;
      if (part.id === "clock" && was && is && was.dataset.until === is.dataset.until) continue;
      if (part.id === "bell" && was && is) continue;
      if (part.id === "renews" && old.classList.contains("lost")) continue;
      if (old.innerHTML.trim() !== part.innerHTML.trim()) old.replaceChildren(...part.childNodes);
    }
    const now = document.querySelector("h1").textContent;
    document.title = now;
    bells();
    tick();
    if (ran && title !== now && !document.querySelector(".clock")) tell(now);
  };

  let source;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("page", event => { show(event); heard(); });
    source.addEventListener("beat", event => heard(Number(event.data)));
    source.onerror = () => { // the browser reconnects by itself, unless it was turned away
      broken = broken || Date.now();
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 30000);
    };
  };
  open();
  setInterval(() => {
    const silent = Date.now() - last;
    if (silent > 40000 || (broken && Date.now() - broken > 4000)) lost(true);
    const dead = Date.now() - Math.max(last, reopened) > 60000; // and the browser does not know it
    if (dead && source.readyState === EventSource.OPEN) {
      reopened = Date.now();
      source.close();
      open();
    }
  }, 1000);
  document.addEventListener("visibilitychange", () => { // phones end what is in the background
    if (!document.hidden && source.readyState === EventSource.CLOSED) open();
  });
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", event => { if (event.persisted) open(); });
})();
