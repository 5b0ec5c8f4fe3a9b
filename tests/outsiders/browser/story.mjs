// Two people with Debian's Chromium: one is refused at a page behind the gate and asks, the other answers
// on a phone, the page goes through by itself, and is closed again. Prints what happened as one JSON object.
//
//   node story.mjs PAGE CONTROL FOLDER      screenshots go to FOLDER
//
// Prints `seat NAME` before it signs somebody in, and goes on when a line comes back.
// Hosts below example.com are this machine, with whatever certificate they show.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [page_url, control, folder] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--ignore-certificate-errors',
    '--host-resolver-rules=MAP *.example.com 127.0.0.1'],
});
const report = { errors: [], origins: [], serious: [] };

async function person(name, more) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: 'reduce', ...more });
  const page = await context.newPage();
  page.on('pageerror', (error) => report.errors.push(`${name}: ${error}`));
  page.on('console', (message) => {
    // A refused page is a 403, which Chromium finds worth a line.
    const refused = /the server responded with a status of 40[34]/.test(message.text());
    const icon = message.text().includes('/favicon.ico');
    if (message.type() === 'error' && !refused && !icon) report.errors.push(`${name}: ${page.url()}: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) report.origins.push(new URL(request.url()).origin);
  });
  return page;
}

async function seat(name) {
  console.log(`seat ${name}`);
  await lines.next();
}

// A page at both widths and in both themes, looked at by axe.
async function look(page, name) {
  const before = page.viewportSize();
  for (const theme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: theme });
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: `${folder}/${name}-${theme}-${width}.png`, fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) report.serious.push(`${name} at ${width}: ${wide} pixels too wide`);
    }
    // Evaluated, not added as an element, which the pages' policy forbids.
    await page.evaluate((await import('node:fs')).readFileSync(axe, 'utf8'));
    const found = await page.evaluate(() => window.axe.run());
    for (const violation of found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))) {
      report.serious.push(`${name} (${theme}): ${violation.id}: ${violation.nodes[0].html}`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize(before);
}

const text = (page) => page.locator('body').innerText();

try {
  await seat('lea');
  const lea = await person('lea', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  // A part of the page that takes its time is waited for.
  await lea.route(/hx-sse/, async (route) => {
    await new Promise((later) => { setTimeout(later, 1000); });
    await route.continue();
  });
  await lea.goto(`${control}/sign-in?page=/review`);
  report.inbox_before = await text(lea);
  await seat('ben');
  const ben = await person('ben', { viewport: { width: 1440, height: 900 } });
  await ben.goto(page_url);
  report.refused = await text(ben);
  await ben.screenshot({ path: `${folder}/refused.png` });
  await ben.getByRole('link', { name: 'Ask for access' }).click();
  await ben.waitForURL(`${control}/ask/**`);
  report.asking = await text(ben);
  await look(ben, 'ask-refused');
  await ben.locator('textarea[name=reason]').fill('the desk is on fire');
  await ben.getByRole('button', { name: 'Ask', exact: true }).click();
  await ben.waitForURL(`${control}/requests/**`);
  report.waiting = await text(ben);
  await look(ben, 'request-waiting');

  // It shows up by itself.
  await lea.getByText('the desk is on fire').waitFor();
  await look(lea, 'review');
  await lea.locator('#inbox a').first().tap();
  await lea.waitForURL(`${control}/requests/**`);
  report.to_answer = await text(lea);
  await look(lea, 'request-to-answer');
  await lea.getByRole('button', { name: 'Approve', exact: true }).tap();
  await lea.getByText('Your answer is on record').waitFor();
  await ben.waitForURL(page_url);
  report.went_through = await text(ben);

  await lea.locator('#state .cards a').first().tap();
  await lea.waitForURL(`${control}/grants/**`);
  await lea.locator('summary', { hasText: 'Revoke' }).tap();
  report.revoking = await text(lea);
  await look(lea, 'grant');
  await lea.getByRole('button', { name: 'Revoke it' }).tap();
  await lea.getByText('It opens nothing any more').waitFor();
  report.revoked = await text(lea);
  report.closed = (await ben.reload()).status();

  for (const [name, path] of [['ask', '/ask'], ['ask-service', '/ask?service=desk'], ['requests', '/requests'],
    ['emergencies', '/emergencies'], ['me', '/me']]) {
    await ben.goto(control + path);
    await look(ben, name);
  }

  // The same without a script.
  const plain = async (page) => person('without a script', {
    javaScriptEnabled: false, storageState: await page.context().storageState(),
  });
  const ben_plain = await plain(ben);
  const lea_plain = await plain(lea);
  await ben_plain.goto(page_url);
  await ben_plain.getByRole('link', { name: 'Ask for access' }).click();
  await ben_plain.locator('textarea[name=reason]').fill('without a script');
  await ben_plain.getByRole('button', { name: 'Ask', exact: true }).click();
  await ben_plain.waitForURL(`${control}/requests/**`);
  await lea_plain.goto(`${control}/review`);
  await lea_plain.locator('#inbox a').first().click();
  await lea_plain.getByRole('button', { name: 'Approve', exact: true }).click();
  report.plain_approved = await text(lea_plain);
  await ben_plain.reload();
  await ben_plain.getByRole('link', { name: 'Go on to the page' }).click();
  await ben_plain.waitForURL(page_url);
  report.plain_went_through = await text(ben_plain);
} catch (error) {
  report.error = `${error}\n${report.errors.join('\n')}`;
  const pages = browser.contexts().flatMap((context) => context.pages());
  report.at_the_end = await Promise.all(pages.map(async (page) => `${page.url()}\n${await text(page)}`));
} finally {
  await browser.close();
}
report.origins = [...new Set(report.origins)];
console.log(`report ${JSON.stringify(report)}`);
process.exit(0);
