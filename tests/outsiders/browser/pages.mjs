// Somebody who looks at pages of the console with Debian's Chromium: at the widths of a phone and of a desk,
// in both themes. Prints what is wrong with each as one JSON object; pictures of all of them go to FOLDER.
//
//   node pages.mjs CONTROL LOGIN FOLDER ADDRESS…

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [control, login, folder, ...addresses] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP *.localhost 127.0.0.1'],
});
const report = { pages: [] };

// A provider that knows who sits there shows no form.
async function sign_in(page) {
  await page.goto(`${control}/sign-in?page=%2F`);
  for (let steps = 0; steps < 4 && !page.url().startsWith(control); steps += 1) {
    const name = page.locator('input[name=login]');
    if (await name.count()) {
      await name.fill(login);
      await page.locator('input[name=password]').fill('any');
    }
    // The demo's provider has a button for each person.
    const own = page.locator(`button[name=person][value=${login}]`);
    const send = await own.count() ? own : page.locator('button[type=submit]').first();
    await Promise.all([page.waitForNavigation(), send.click()]);
  }
}

const name_of = (address) => address.replace(/[?#].*$/, '').replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '') || 'home';

async function look(context, address, file, width, theme) {
  const page = await context.newPage();
  const seen = { address, width, theme, errors: [], foreign: [] };
  page.on('console', (message) => { if (message.type() === 'error') seen.errors.push(message.text()); });
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== 'data:' && origin !== control) seen.foreign.push(request.url());
  });
  const response = await page.goto(control + address, { waitUntil: 'load' });
  seen.status = response.status();
  seen.url = page.url();
  seen.title = await page.title();
  seen.overflow = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.scrollingElement;
    return scrollWidth > clientWidth ? scrollWidth - clientWidth : 0;
  });
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { preload: false }));
  const bad = found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  seen.violations = bad.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`) }));
  await page.screenshot({ path: `${folder}/${file}-${width}-${theme}.png`, fullPage: true });
  await page.close();
  report.pages.push(seen);
}

try {
  const context = await browser.newContext();
  const first = await context.newPage();
  await sign_in(first);
  report.signed_in = first.url();
  await first.close();
  const state = await context.storageState();
  await context.close();
  for (const [width, height] of [[390, 844], [1440, 900]]) {
    for (const theme of ['light', 'dark']) {
      const other = await browser.newContext({ storageState: state, viewport: { width, height }, reducedMotion: 'reduce' });
      await other.addCookies([{ name: 'portcullis-theme', value: theme, url: control }]);
      const files = new Map();
      for (const address of addresses) {
        // Ids differ from run to run; pictures are called after what is shown.
        const stem = name_of(address.replace(/[0-9A-Z]{20,}|%3A\w+/g, '').replace(/\/\d+/g, '/one'));
        const count = (files.get(stem) ?? 0) + 1;
        files.set(stem, count);
        await look(other, address, count > 1 ? `${stem}-${count}` : stem, width, theme);
      }
      await other.close();
    }
  }
} catch (error) {
  report.error = String(error);
} finally {
  await browser.close();
}
console.log(JSON.stringify(report));
