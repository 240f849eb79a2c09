// The wallboard: sign in, then pictures as they come, and the truth about how old they are.

import { duration, parts, tick } from "/wallboard/draw.js";
import { Live } from "/wallboard/live.js";

const byId = (id) => document.getElementById(id);
const THEMES = ["auto", "dark", "light"];

let version = "";
let serverMs = 0; // the server's clock at the last picture ...
let heardMs = 0; // ... and ours then
let staleSince = null;

const now = () => serverMs + (staleSince ? 0 : performance.now() - heardMs);

const live = new Live({
  part(name, content) {
    if (name === "head") head(content);
    else {
      parts[name](content);
      if (serverMs) tick(now());
    }
  },
  stale(since) {
    staleSince = since;
    document.body.classList.toggle("stale", since !== null);
    byId("stale").hidden = since === null;
    if (since) {
      byId("link").textContent = "not connected";
      byId("stale-since").textContent = time(since);
    }
    clock();
  },
  out() {
    signIn("The token is revoked or over.");
  },
});

function head(content) {
  if (version && version !== content.version) location.reload(); // Cordboard was upgraded
  version = content.version;
  serverMs = Date.parse(content.at);
  heardMs = performance.now();
  byId("centre").textContent = content.centre;
  byId("held").hidden = content.matching;
  byId("crisis").hidden = !content.crisis;
  byId("link").textContent = "live";
  tick(now());
}

function time(date) {
  return date.toLocaleTimeString([], { hour12: false });
}

function clock() {
  byId("clock").textContent = time(new Date());
  if (staleSince) byId("stale-for").textContent = ` (for ${duration(Date.now() - staleSince.getTime())})`;
}

setInterval(() => {
  clock();
  if (serverMs) tick(now());
}, 500);

// ---------------------------------------------------------------- signing in and out

function signIn(why = "") {
  live.stop();
  document.body.classList.remove("stale");
  staleSince = null;
  byId("stale").hidden = true;
  byId("board").hidden = true;
  byId("login").hidden = false;
  byId("login-wrong").textContent = why;
  byId("token").focus();
}

function show() {
  byId("login").hidden = true;
  byId("board").hidden = false;
  byId("link").textContent = "connecting";
  live.start();
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token");
  const body = JSON.stringify({ token: field.value.trim(), keep: byId("keep").checked });
  byId("login-wrong").textContent = "";
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/wallboard/login", { method: "POST", headers, body });
    if (answer.ok) {
      field.value = "";
      show();
    } else {
      const problem = await answer.json();
      byId("login-wrong").textContent = problem.detail ? `${problem.title}: ${problem.detail}` : problem.title;
    }
  } catch {
    byId("login-wrong").textContent = "Cordboard does not answer.";
  }
});

byId("logout").addEventListener("click", async () => {
  live.stop();
  try {
    await fetch("/wallboard/logout", { method: "POST" });
    signIn();
  } catch {
    signIn("Not signed out: Cordboard does not answer. Reload when it does.");
  }
});

// ---------------------------------------------------------------- dark or light

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
}

byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  theme(next);
});

const kept = localStorage.getItem("theme");
theme(THEMES.includes(kept) ? kept : "auto");

// A screen that is switched on while Cordboard is not there yet waits for it.
async function begin() {
  try {
    const answer = await fetch("/wallboard/who");
    if (!answer.ok) setTimeout(begin, 2000);
    else if ((await answer.json()).name) show();
    else signIn();
  } catch {
    setTimeout(begin, 2000);
  }
}

begin();
