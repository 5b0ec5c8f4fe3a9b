// A page that waits: goes on to the page that was refused as soon as it is open, and takes forms away
// that somebody else was quicker with. Without it, the same is said and linked.
'use strict';

function looked() {
  const on = document.querySelector('a[data-go-on]');
  if (on) location.replace(on.href);
  const over = document.querySelector('[data-over]');
  for (const form of document.querySelectorAll('[data-while-open]')) form.hidden = Boolean(over);
}

looked();
document.addEventListener('htmx:after:swap', looked);
document.addEventListener('htmx:after:settle', looked);
