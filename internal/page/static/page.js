// What the page does beyond what its HTML does by itself: times in the reader's zone, copying, confirmations in place, and what is new.
import { live } from './live.js';
import { chart } from './chart.js';

const pad = (n) => String(n).padStart(2, '0');

// local writes a time in the reader's zone; the UTC stays in the title.
function local(date, now) {
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return date.toDateString() === now.toDateString() ? clock : `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock}`;
}

function remaining(ms) {
  const s = Math.ceil(ms / 1000);
  if (s <= 0) return 'now';
  if (s < 120) return `in ${s} s`;
  if (s < 7200) return `in ${Math.floor(s / 60)} min ${s % 60} s`;
  return `in ${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

let counting = [];

// settle makes what the server sent the reader's: it is called for the page, and for each part that comes later.
export function settle(root) {
  const now = new Date();
  for (const t of root.querySelectorAll('time[datetime]')) {
    if (!('until' in t.dataset)) t.textContent = local(new Date(t.dateTime), now);
  }
  for (const b of root.querySelectorAll('[data-copy]')) b.hidden = false;
  counting = [...document.querySelectorAll('time[data-until]')];
  count();
}

function count() {
  const now = Date.now();
  for (const t of counting) {
    const text = remaining(new Date(t.dateTime) - now);
    if (t.textContent !== text) t.textContent = text;
  }
}

const dialog = document.getElementById('ask');
let asked; // the button that asked

async function ask(link) {
  let answer;
  try {
    answer = await fetch(link.href, { headers: { 'x-fragment': '1' } });
  } catch { /* it does not answer: the link says so */ }
  if (!answer?.ok || answer.redirected) {
    location.href = link.href;
    return;
  }
  asked = link.id;
  dialog.innerHTML = await answer.text(); // the server's own template, escaped there
  dialog.showModal();
  dialog.querySelector('[data-close]')?.focus();
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a[data-ask]');
  if (link && dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    ask(link);
    return;
  }
  if (event.target.closest('dialog [data-close]')) {
    event.preventDefault();
    dialog.close();
    return;
  }
  const copy = event.target.closest('[data-copy]');
  if (copy) {
    const said = copy.textContent;
    navigator.clipboard?.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => {
      copy.textContent = 'Copied';
      setTimeout(() => { copy.textContent = said; }, 1500);
    }, () => {});
  }
});
dialog?.addEventListener('close', () => document.getElementById(asked)?.focus());

settle(document);
setInterval(count, 1000);
if (document.body.dataset.here) live(document.body.dataset.here, settle);
chart(document);
