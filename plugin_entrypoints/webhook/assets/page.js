"use strict";
// Without this script the page says the same, but once; with it, parts that change are asked for again.
const PERIOD = 2000;

async function ask(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (answer.redirected || answer.status === 401) location.reload(); // the session is over
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
}

const shown = new WeakMap();

function replace(part, html) {
  if (shown.get(part) === html) return;
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  shown.set(part, html);
  if (focused) document.getElementById(focused)?.focus();
  // What is announced stays in the page and changes: an element that is new is not read out.
  const status = document.querySelector("[role=status]");
  const said = part.querySelector("[data-said]").dataset.said;
  if (status.textContent !== said) status.textContent = said;
}

async function refresh(part) {
  const wasActive = part.querySelector('[data-active="true"]') !== null;
  replace(part, await (await ask(part.dataset.live)).text());
  const over = part.querySelector('[data-active="false"]') !== null;
  if (wasActive && over) location.reload(); // now there is a receipt, and other actions
  return !over;
}

async function follow(log) {
  const answer = await ask(`${log.dataset.log}?after=${log.dataset.after}`);
  const text = await answer.text();
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  if (text) log.append(text);
  log.dataset.after = answer.headers.get("x-log-after");
  if (atEnd) log.scrollTop = log.scrollHeight;
  return answer.headers.get("x-log-grows") === "true";
}

async function repeat(step, part) {
  let more = true;
  while (more) {
    await new Promise((resume) => setTimeout(resume, PERIOD));
    if (document.hidden) continue;
    try {
      more = await step(part);
    } catch {
      continue; // the server is away for a moment
    }
  }
}

for (const part of document.querySelectorAll("[data-live]")) repeat(refresh, part);
for (const log of document.querySelectorAll("[data-log]")) {
  log.scrollTop = log.scrollHeight;
  repeat(follow, log);
}
