// A person with Debian's Chromium: opens a page behind the gate, signs in at the provider, comes back,
// signs out. Prints what happened as one JSON object.
//
//   node visit.mjs PAGE LOGIN PROVIDER CONTROL [FOLDER]      screenshots go to FOLDER, if one is named
//
// Hosts below example.com are this machine, with whatever certificate they show.

import { chromium } from 'playwright-core';

const [page_url, login, provider, control, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--ignore-certificate-errors',
    '--host-resolver-rules=MAP *.example.com 127.0.0.1, MAP *.localhost 127.0.0.1'],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();
const report = { violations: [] };
page.on('console', (message) => {
  // Chromium looks for an icon by itself, sooner or later; no page of ours names one, and the policy says no.
  const own_idea = /^Loading the image '[^']*\/favicon\.ico'/.test(message.text());
  if (/Content Security Policy/.test(message.text()) && !own_idea) report.violations.push(message.text());
});

const shown = async () => ({ url: page.url(), text: await page.locator('body').innerText() });
// A page of the service itself stays open: it is what scripts run on.
let service;
const script = (method) => service.evaluate(
  async (asked) => (await fetch('/data', { method: asked })).status, method);

async function picture(name) {
  if (!folder) return;
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path: `${folder}/${name}-${width}.png` });
  }
}

async function sign_in() {
  for (let steps = 0; steps < 4 && page.url().startsWith(provider); steps += 1) {
    const name = page.locator('input[name=login]');
    if (await name.count()) {
      await name.fill(login);
      await page.locator('input[name=password]').fill('any');
    }
    await Promise.all([page.waitForNavigation(), page.locator('button[type=submit]').first().click()]);
  }
}

try {
  await page.goto(page_url);
  report.asked_at = page.url();
  await sign_in();
  report.opened = await shown();
  report.cookies = (await context.cookies(page_url)).map(({ value, expires, ...rest }) => rest);
  service = await context.newPage();
  await service.goto(page_url);
  report.readable = await service.evaluate(() => document.cookie);
  report.script = { get: await script('GET'), post: await script('POST') };

  await page.goto(`${control}/`);
  report.control = await shown();
  await picture('control');
  await page.locator('.side form[action="/sign-out"] button').click();
  await page.waitForLoadState();
  report.control_signed_out = await shown();
  await picture('control-signed-out');
  report.after_control = await script('GET');
  await page.goto(`${control}/`);
  await picture('control-start');
  await page.goto(page_url);
  await page.goto(new URL('/.portcullis/sign-out', page_url).href);
  await picture('sign-out');
  await page.locator('button').click();
  await page.waitForLoadState();
  report.signed_out = await shown();
  await picture('signed-out');
  report.after = await script('GET');

  // Signed in at the provider still: no form is shown.
  await page.goto(page_url);
  report.again = await shown();
  report.script_again = await script('GET');
  const other = await context.newPage();
  await other.goto(`${provider}/session/end`);
  await Promise.all([other.waitForNavigation(), other.locator('button[value=yes], button[type=submit]').first().click()]);
  await other.close();
  report.after_logout = await script('GET');
  await page.goto(page_url);
  report.asked_again_at = page.url();
} catch (error) {
  report.error = `${error}\nat ${page.url()}: ${await page.content().catch(() => '')}`;
} finally {
  await browser.close();
}
console.log(JSON.stringify(report));
