// Follows the upgrade and presses its buttons. Everything shown is made on the server.
"use strict";

const live = document.getElementById("live");
const notice = document.getElementById("notice");
const dialog = document.getElementById("confirm");

function say(state, text) {
  live.dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

function tell(text) {
  document.getElementById("notice-text").textContent = text;
  notice.hidden = text === "";
}

// Replacing a section must not take the keyboard's focus away.
function show(name, html) {
  const place = document.getElementById(name);
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.innerHTML = html;
  if (!focused) return;
  const again = document.getElementById(focused) || place.querySelector("button") || place;
  if (again === place) place.tabIndex = -1;
  again.focus({ preventScroll: true });
}

function follow() {
  const events = new EventSource("/events");
  events.addEventListener("open", () => say("live", "live"));
  events.addEventListener("error", () => {
    // The browser tries again by itself, except after a refusal: then the page itself says why.
    if (events.readyState === EventSource.CLOSED) location.reload();
    else say("lost", "reconnecting");
  });
  events.addEventListener("sections", (event) => {
    const { announcement, ...sections } = JSON.parse(event.data);
    if (announcement !== undefined) document.getElementById("announcement").textContent = announcement;
    for (const [name, html] of Object.entries(sections)) show(name, html);
  });
}

function confirmed(question) {
  document.getElementById("confirm-question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  document.getElementById("confirm-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: body ? JSON.stringify(body) : undefined,
  });
  if (answer.ok) return answer;
  if (answer.status === 401) location.reload(); // the session has ended: the page asks for a token
  const problem = await answer.json().catch(() => ({})); // a proxy may answer with something else
  throw new Error(problem.detail || `the service answered with status ${answer.status}`);
}

async function act(button) {
  const { step, question, body } = button.dataset;
  if (question && !(await confirmed(question))) return;
  tell("");
  button.setAttribute("aria-busy", "true");
  try {
    const path = `/upgrade/${step}`;
    const answer = await (await post(path, body && JSON.parse(body))).json();
    // The service asks back before what cannot be undone.
    if (answer.confirmation_token && (await confirmed(answer.question))) {
      await post(path, { confirmation_token: answer.confirmation_token });
    }
  } catch (error) {
    tell(error.message);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-step]");
  if (button && button.getAttribute("aria-busy") !== "true") act(button);
});

const tried = document.getElementById("try");

// Asks for a piece of the search panel; what is wrong is told.
async function fetched(place, path, body, button) {
  tell("");
  button.setAttribute("aria-busy", "true");
  try {
    document.getElementById(place).innerHTML = await (await post(path, body)).text();
  } catch (error) {
    tell(error.message);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

tried?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = Object.fromEntries(new FormData(tried));
  await fetched("found", "/try", asked, tried.querySelector("button[type=submit]"));
  document.getElementById("found").focus(); // so that a screen reader goes on there
});
document.getElementById("try-pick")?.addEventListener("click", (event) => {
  fetched("picks", "/try/items", undefined, event.target);
});
if (tried && location.hash === "#try") document.getElementById("try-pick").click();
document.getElementById("picks")?.addEventListener("click", (event) => {
  const pick = event.target.closest("button[data-like]");
  if (!pick) return;
  tried.elements.text.value = "";
  tried.elements.like.value = pick.dataset.like;
  tried.requestSubmit();
});
document.getElementById("notice-close").addEventListener("click", () => tell(""));
follow();
