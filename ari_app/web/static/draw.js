// Pictures into the page. Text from outside goes in as text, never as markup.

export const TARGET = target();

function target() {
  const asked = Number(new URLSearchParams(location.search).get("target"));
  return asked >= 1 && asked <= 100 ? asked / 100 : 0.8;
}

const byId = (id) => document.getElementById(id);

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

/** The children of `parent` become one for each of `items`, in their order; those there already stay. */
function keyed(parent, items, keyOf, build, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = build(item);
      child.dataset.key = key;
    }
    fill(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const gone of old.values()) gone.remove();
}

// ---------------------------------------------------------------- durations that count

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const h = Math.floor(s / 3600);
  return h ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

function counts(element, since) {
  element.dataset.since = since ? String(Date.parse(since)) : "";
}

/** All durations as they are at `now` (ms, the server's clock). */
export function tick(now) {
  for (const element of document.querySelectorAll("[data-since]")) {
    const since = element.dataset.since;
    say(element, since ? duration(now - Number(since)) : "–");
    const limit = Number(element.dataset.limit);
    if (limit) late(element, since ? (now - Number(since)) / 1000 : 0, limit);
  }
}

function late(element, waited, limit) {
  const over = waited > limit;
  element.classList.toggle("bad", over);
  say(element.nextElementSibling, over ? `▲ over ${limit} s` : "");
}

// ---------------------------------------------------------------- parts

let queueNames = new Map();

function queues(list) {
  queueNames = new Map(list.map((queue) => [queue.id, queue.name]));
  byId("queues").classList.toggle("many", list.length > 5);
  say(byId("target"), `(target ${Math.round(TARGET * 100)} %)`);
  keyed(byId("queues").tBodies[0], list, (queue) => queue.id, queueRow, fillQueue);
  const waiting = list.reduce((sum, queue) => sum + queue.waiting, 0);
  document.title = waiting ? `(${waiting}) Wallboard` : "Wallboard";
}

function queueRow() {
  const row = make("tr");
  const name = make("th");
  name.scope = "row";
  name.append(make("span"), make("small", "warn"));
  row.append(name);
  for (let i = 0; i < 5; i++) row.append(make("td"));
  row.cells[2].append(make("span"), make("small", "bad"));
  row.cells[5].append(make("span"), make("small"));
  return row;
}

function fillQueue(row, queue) {
  const [name, waiting, longest, ready, talking, level] = row.cells;
  say(name.children[0], queue.name);
  say(name.children[1], queue.note ? `■ ${queue.note}` : "");
  number(waiting, queue.waiting);
  counts(longest.firstChild, queue.oldest);
  longest.firstChild.dataset.limit = String(queue.service_level_s);
  longest.firstChild.classList.toggle("zero", !queue.oldest);
  number(ready, queue.ready);
  // Somebody waits and nobody is ready for them.
  ready.classList.toggle("warn", queue.waiting > 0 && queue.ready === 0);
  number(talking, queue.talking);
  serviceLevel(level, queue);
}

function number(cell, value) {
  say(cell, String(value));
  cell.classList.toggle("zero", value === 0);
}

function serviceLevel(cell, queue) {
  const [figure, words] = cell.children;
  const level = queue.service_level;
  if (level === null) {
    say(figure, "–");
    say(words, "no calls yet");
    figure.className = words.className = "zero";
    return;
  }
  const [kind, text] =
    level >= TARGET ? ["good", "✓ on target"] : level >= TARGET - 0.1 ? ["warn", "▼ just below"] : ["bad", "▼▼ below"];
  say(figure, `${Math.floor(level * 100)} %`);
  say(words, text);
  figure.className = words.className = kind;
  const left = queue.abandoned ? `, ${queue.abandoned} gave up` : "";
  cell.title = `Today: ${queue.offered} calls${left}; in time means within ${queue.service_level_s} s`;
}

function agents(groups) {
  const total = groups.reduce((sum, group) => sum + group.count, 0);
  const out = groups.reduce((sum, group) => sum + (group.state === "signed_out" ? group.count : 0), 0);
  say(byId("agents-count"), `${total - out} of ${total} signed in`);
  keyed(byId("agents"), groups, (group) => group.state, stateGroup, fillState);
}

function stateGroup(group) {
  const section = make("section");
  const title = make("h3");
  title.append(make("span", "", group.label), " ", make("span", "count"));
  section.append(title, make("ul"), make("p", "none"));
  return section;
}

function fillState(section, group) {
  const [title, list, more] = section.children;
  say(title.lastChild, String(group.count));
  keyed(list, group.agents, (agent) => agent.id, agentItem, fillAgent);
  const unnamed = group.agents.length ? group.count - group.agents.length : 0;
  say(more, unnamed ? `and ${unnamed} more` : "");
  more.hidden = !unnamed;
}

function agentItem() {
  const item = make("li");
  item.append(make("span", "name"), " ", make("span", "note"), " ", make("span", "for"));
  return item;
}

function fillAgent(item, agent) {
  const [name, note, time] = item.children;
  say(name, agent.name);
  say(note, agent.note);
  note.title = agent.note; // it may be cut
  counts(time, agent.since);
}

function waiting(line) {
  say(byId("waiting-count"), String(line.count));
  byId("nobody").hidden = line.count > 0;
  byId("waiting").hidden = line.count === 0;
  keyed(byId("waiting").tBodies[0], line.calls, (call) => call.call, callRow, fillCall);
}

function callRow(call) {
  const row = make("tr");
  for (let i = 0; i < 4; i++) row.append(make("td"));
  row.cells[3].className = "who";
  row.cells[3].append(make("span"), " ", make("span", "id", call.call), " ", make("span", "rings"));
  return row;
}

function fillCall(row, call) {
  const [time, queue, place, who] = row.cells;
  counts(time, call.since);
  say(queue, queueNames.get(call.queue) ?? call.queue);
  say(place, call.position ? String(call.position) : "–");
  say(who.children[0], call.caller);
  say(who.children[2], call.rings ? `→ ${call.rings}` : "");
}

const WORDS = {
  OfferMade: ["decision", "Decision"],
  OfferLapsed: ["trouble", "Missed"],
  ConnectFailed: ["trouble", "Failed"],
  CallQuarantined: ["trouble", "Alarm"],
  MatchingHeld: ["trouble", "Held"],
  RecordingFailed: ["trouble", "Failed"],
};
let drawnBefore = false;

function happenings(list) {
  const seen = new Map();
  const key = (each) => {
    // The same words about the same call in the same instant can come twice.
    const text = `${each.at} ${each.kind} ${each.call} ${each.text}`;
    seen.set(text, (seen.get(text) ?? 0) + 1);
    return `${text} ${seen.get(text)}`;
  };
  keyed(byId("happenings"), list, key, happening, () => {});
  drawnBefore = true;
}

function happening(each) {
  const [kind, word] = WORDS[each.kind] ?? ["", ""];
  const item = make("li", drawnBefore ? `${kind} new`.trim() : kind);
  const time = make("time", "", new Date(each.at).toLocaleTimeString([], { hour12: false }));
  time.dateTime = each.at;
  item.append(time);
  if (word) item.append(make("b", "", word));
  if (each.call) item.append(make("span", "id", each.call));
  item.append(make("span", "text", each.text));
  return item;
}

export const parts = { queues, agents, waiting, happenings };
