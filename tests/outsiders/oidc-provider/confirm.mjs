// Signs a person in at the provider, as their browser would: follows redirects, keeps cookies,
// fills in whatever form a page shows, presses its button.
//
//   node confirm.mjs VERIFICATION_URI_COMPLETE LOGIN          confirms
//   node confirm.mjs VERIFICATION_URI_COMPLETE LOGIN --deny   presses "abort" on the first page
//   node confirm.mjs AUTHORIZATION_URL LOGIN --until PREFIX   stops before the first address that begins
//                                                             so, and prints it: `back ADDRESS`
//
// Ends with 0 once the provider's last page has no form any more, or at that address.

const [start, login, option, prefix] = process.argv.slice(2);
const deny = option === '--deny';
const cookies = new Map();

async function visit(url, form) {
  for (let hops = 0; hops < 20; hops += 1) {
    const response = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form,
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      if (value) cookies.set(name, value); else cookies.delete(name);
    }
    const location = response.headers.get('location');
    if (!location) return { url, status: response.status, html: await response.text() };
    url = new URL(location, url).href;
    if (prefix && url.startsWith(prefix)) {
      console.log(`back ${url}`);
      process.exit(0);
    }
    form = undefined;
  }
  throw new Error('too many redirects');
}

const unescape = (text) => text.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'");
const attribute = (tag, name) => unescape(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? '');

function fill(html) {
  const page = /<form[^>]*>[\s\S]*?<\/form>/.exec(html)?.[0];
  if (!page) return undefined;
  const form = new URLSearchParams();
  for (const [tag] of page.matchAll(/<input[^>]*>/g)) {
    const name = attribute(tag, 'name');
    if (name === 'login') form.set('login', login);
    else if (name === 'password') form.set('password', 'any');
    else if (name) form.set(name, attribute(tag, 'value'));
  }
  return { action: attribute(page, 'action'), form };
}

let page = await visit(start);
for (let steps = 0; steps < 8; steps += 1) {
  const filled = fill(page.html);
  if (!filled) break;
  if (deny && filled.form.has('confirm')) {
    filled.form.delete('confirm');
    filled.form.set('abort', 'yes');
  }
  page = await visit(new URL(filled.action, page.url).href, filled.form);
}
const title = /<title>([^<]*)<\/title>/.exec(page.html)?.[1] ?? 'no title';
console.log(`${page.status} ${title}`);
process.exit(page.status < 400 && !fill(page.html) ? 0 : 1);
