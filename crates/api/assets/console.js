// What moves on the console's pages. Every page works without it.
'use strict';

const zone = { hour: '2-digit', minute: '2-digit' };
const exact = { dateStyle: 'full', timeStyle: 'long' };

// Times in the viewer's own zone; the exact instant, in theirs and in UTC, when they ask for it.
function times(root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime()) || time.dataset.seen) continue;
    time.dataset.seen = 'yes';
    time.title = `${at.toLocaleString(undefined, exact)} (${time.dateTime})`;
    if ('left' in time.dataset) continue;
    const today = at.toDateString() === new Date().toDateString();
    time.textContent = at.toLocaleString(undefined, today ? zone : { dateStyle: 'medium', timeStyle: 'short' });
  }
}

function left(seconds) {
  if (seconds <= 0) return '0 s';
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (seconds >= 120) return `${minutes} min`;
  return minutes ? `1 min ${seconds % 60} s` : `${seconds} s`;
}

function clocks() {
  for (const time of document.querySelectorAll('time[data-left]')) {
    time.textContent = left(Math.round((new Date(time.dateTime) - Date.now()) / 1000));
  }
}

times(document);
clocks();
setInterval(clocks, 1000);
document.addEventListener('htmx:after:swap', () => { times(document); clocks(); });
document.addEventListener('htmx:after:settle', () => { times(document); clocks(); });

// What somebody has open or types into is not torn out of their hands; they are told that there is more.
const stale = () => document.getElementById('stale')?.removeAttribute('hidden');
const busy = 'details.act[open], input:focus, textarea:focus, select:focus, '
  + 'a:focus-visible, button:focus-visible, summary:focus-visible';
document.addEventListener('htmx:before:swap', (event) => {
  if (!event.target.querySelector?.(busy)) return;
  event.preventDefault();
  stale();
});
// What could not be read anew is as it was, which is said too.
document.addEventListener('htmx:response:error', stale);
document.addEventListener('htmx:sse:error', stale);

// The command palette: every section, and every link of this page that says `data-command`.
const palette = document.getElementById('palette');
const opener = document.querySelector('[data-palette]');

function commands() {
  const links = [...document.querySelectorAll('.side .nav a, main a[data-command], main [data-row] a')];
  const seen = new Set();
  return links.map((link) => ({ name: link.textContent.trim(), address: link.href }))
    .filter(({ name, address }) => name && !seen.has(address) && seen.add(address));
}

function show(words) {
  const list = palette.querySelector('ul');
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = commands().filter(({ name }) => wanted.every((word) => name.toLowerCase().includes(word))).slice(0, 12);
  list.replaceChildren(...found.map(({ name, address }, at) => {
    const item = document.createElement('li');
    item.role = 'option';
    item.ariaSelected = String(at === 0);
    const link = document.createElement('a');
    link.href = address;
    link.tabIndex = -1;
    link.textContent = name;
    item.append(link);
    return item;
  }));
}

function step(by) {
  const items = [...palette.querySelectorAll('li')];
  const at = items.findIndex((item) => item.ariaSelected === 'true');
  const next = Math.min(Math.max(at + by, 0), items.length - 1);
  items.forEach((item, n) => { item.ariaSelected = String(n === next); });
  items[next]?.scrollIntoView({ block: 'nearest' });
}

function open_palette() {
  palette.showModal();
  const input = palette.querySelector('input');
  input.value = '';
  show('');
  input.focus();
}

if (palette) {
  opener.hidden = false;
  opener.addEventListener('click', open_palette);
  palette.querySelector('input').addEventListener('input', (event) => show(event.target.value));
  palette.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') step(1);
    else if (event.key === 'ArrowUp') step(-1);
    else if (event.key === 'Enter') palette.querySelector('li[aria-selected=true] a')?.click();
    else return;
    event.preventDefault();
  });
  palette.addEventListener('click', (event) => { if (event.target === palette) palette.close(); });
}

// Keys: `g` and a section's letter, `j` and `k` along the rows, Enter to open one.
let leading = false;
let row = -1;
document.addEventListener('keydown', (event) => {
  if (!palette) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    open_palette();
    return;
  }
  const typing = event.target.closest?.('input, textarea, select, dialog, [contenteditable]');
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (leading) {
    leading = false;
    document.querySelector(`.side [data-letter="${CSS.escape(event.key)}"]`)?.click();
    return;
  }
  const rows = [...document.querySelectorAll('main [data-row]')];
  if (event.key === 'g') {
    leading = true;
    setTimeout(() => { leading = false; }, 1500);
  } else if (event.key === '/') {
    event.preventDefault();
    open_palette();
  } else if ((event.key === 'j' || event.key === 'k') && rows.length) {
    row = Math.min(Math.max(row + (event.key === 'j' ? 1 : -1), 0), rows.length - 1);
    rows.forEach((each, n) => each.classList.toggle('here', n === row));
    rows[row].scrollIntoView({ block: 'nearest' });
  } else if (event.key === 'Enter' && event.target === document.body && rows[row]) {
    rows[row].querySelector('a')?.click();
  }
});
