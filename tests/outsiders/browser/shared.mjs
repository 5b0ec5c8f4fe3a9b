// A page of another origin, in Debian's Chromium, that uses a service behind the gate. Prints what its
// script could read as one JSON object.
//
//   node shared.mjs PAGE SERVICE TOKEN
//
// Hosts below example.com are this machine, with whatever certificate they show.

import { chromium } from 'playwright-core';

const [page_url, service, token] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--ignore-certificate-errors',
    '--host-resolver-rules=MAP *.example.com 127.0.0.1'],
});
const report = {};
try {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(page_url);
  const ask = (method, headers) => page.evaluate(async ([url, method, headers]) => {
    try {
      const answer = await fetch(url, { method, headers, body: method === 'GET' ? undefined : '{}' });
      return { status: answer.status, text: await answer.text(), id: answer.headers.get('portcullis-request-id'),
        etag: answer.headers.get('etag'), hidden: answer.headers.get('x-hidden') };
    } catch (error) {
      return { error: String(error) };
    }
  }, [service, method, headers]);
  const identified = { authorization: `Bearer ${token}` };
  report.read = await ask('GET', identified);
  report.written = await ask('POST', { ...identified, 'content-type': 'application/json' });
  report.stranger = await ask('GET', { authorization: 'Bearer forged' });
  report.unknown_header = await ask('GET', { ...identified, 'x-unknown': '1' });
} catch (error) {
  report.error = String(error);
} finally {
  await browser.close();
}
console.log(JSON.stringify(report));
