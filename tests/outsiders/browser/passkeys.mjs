// A person at Chromium with a passkey (its virtual authenticator), on the page that is named.
// Reads one JSON command a line and prints one JSON answer for each:
//   {"do": "create"|"get", "options": {...}}   navigator.credentials, as a page's own script calls it
//   {"do": "verify", "user": bool}             whether PIN, finger or face will be right from now on
//   {"do": "goto", "url": "..."}               go to another page; its text
//   {"do": "fill", "field": "...", "text": "..."}
//   {"do": "press", "button": "...", "until": "..."}   until that text is there; the page's text
//   {"do": "picture", "file": "...", "width": 390}
import {createInterface} from 'node:readline';
import {chromium} from 'playwright-core';

const [url] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});
const page = await browser.newPage();
await page.goto(url);
const devtools = await page.context().newCDPSession(page);
await devtools.send('WebAuthn.enable');
const {authenticatorId} = await devtools.send('WebAuthn.addVirtualAuthenticator', {
  options: {
    protocol: 'ctap2', transport: 'internal', hasResidentKey: true,
    hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true,
  },
});

const ceremony = ({name, options}) => {
  const parse = name === 'create' ? 'parseCreationOptionsFromJSON' : 'parseRequestOptionsFromJSON';
  const publicKey = PublicKeyCredential[parse](options);
  return navigator.credentials[name]({publicKey}).then((made) => made.toJSON());
};

const text = async () => ({url: page.url(), text: await page.locator('body').innerText()});

const commands = {
  create: ({options}) => page.evaluate(ceremony, {name: 'create', options}),
  get: ({options}) => page.evaluate(ceremony, {name: 'get', options}),
  verify: ({user}) => devtools.send('WebAuthn.setUserVerified', {authenticatorId, isUserVerified: user}),
  goto: ({url}) => page.goto(url).then(text),
  fill: ({field, text}) => page.locator(`[name=${field}]`).fill(text).then(() => ({})),
  press: async ({button, until}) => {
    await page.getByRole('button', {name: button, exact: true}).click();
    await page.getByText(until).first().waitFor();
    return text();
  },
  picture: async ({file, width}) => {
    await page.setViewportSize({width, height: 900});
    await page.screenshot({path: file, fullPage: true});
    return {};
  },
};

console.log('ready');
for await (const line of createInterface({input: process.stdin})) {
  const command = JSON.parse(line);
  const answer = await commands[command.do](command).catch((error) => ({error: String(error)}));
  console.log('answer ' + JSON.stringify(answer));
}
await browser.close();
