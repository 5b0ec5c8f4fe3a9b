// A certified OpenID provider on loopback, so that sign-in is tested against somebody else's
// reading of the standards. Everything is in memory.
//
//   node server.mjs [PORT [CONTROL]]  prints `listening http://127.0.0.1:PORT` once it is up
//
// Clients: `portcullis` (secret `portcullis-secret`) may use the device flow; and the code flow with
// back-channel logout, if the control URL is given and the provider is called `outside` there. `plain`
// (secret `plain-secret`) may do the same and gets no ID tokens, because it never asks for them.
// `batch` (secret `batch-secret`) gets tokens of its own. All access tokens are opaque.
// Accounts:
//   ana   verified e-mail, groups engineers and on-call
//   ben   unverified e-mail, groups engineers
//   sam   verified e-mail, no groups claim at all
// The forms are the provider's own; `confirm.mjs` fills them in.
//
// Told `rotate`, it signs with a new key from then on, and publishes those before beside it.
// Told `disable NAME`, it vouches for nothing of that account any more.

import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const accounts = {
  ana: { name: 'Ana Prata', email: 'Ana@Example.com', email_verified: true,
    groups: ['engineers', 'on-call'] },
  ben: { name: 'Ben Ito', email: 'ben@example.com', email_verified: false, groups: ['engineers'] },
  sam: { name: 'Sam Roy', email: 'sam@example.com', email_verified: true },
};

const device = 'urn:ietf:params:oauth:grant-type:device_code';
const shop = 'https://shop.example.com/';
const control = process.argv[3];

function registration(logout) {
  if (!control) return { grant_types: [device], response_types: [], redirect_uris: [] };
  return {
    grant_types: [device, 'authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [`${control}/sign-in/callback`],
    ...(logout && {
      backchannel_logout_uri: `${control}/sign-in/outside/logged-out`,
      backchannel_logout_session_required: true,
    }),
  };
}

const clients = [
  { client_id: 'portcullis', client_secret: 'portcullis-secret', ...registration(true) },
  { client_id: 'plain', client_secret: 'plain-secret', ...registration(false) },
  { client_id: 'batch', client_secret: 'batch-secret', grant_types: ['client_credentials'],
    response_types: [], redirect_uris: [] },
];

// The provider calls nobody on loopback unless it is told to.
const loopback = (url, options) => { delete options.dispatcher; return fetch(url, options); };

function key() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}
let keys = [key()];
// Outlives the provider that has other keys.
const adapter = createMemoryAdapter();

function make(issuer) {
  return new Provider(issuer, {
    adapter,
    clients,
    jwks: { keys },
    scopes: ['openid', 'email', 'profile', 'groups', 'offline_access', 'shop.read', 'shop.list'],
    claims: {
      openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'],
      auth_time: null, amr: null,
    },
    // Claims belong into the ID token: nothing else is asked for them.
    conformIdTokenClaims: false,
    // And into what is said of access tokens.
    extraTokenClaims: async (_context, token) => (
      token.accountId ? accounts[token.accountId] : { team: 'payments', teams: ['readers'] }
    ),
    features: {
      deviceFlow: { enabled: true }, devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: () => (
          { scope: 'shop.read shop.list', audience: shop, accessTokenFormat: 'opaque' }
        ),
      },
    },
    pkce: { required: (_context, client) => client.responseTypes.length > 0 },
    // Sessions of the browser are told apart in ID tokens, for back-channel logout.
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed('refresh_token'),
    fetch: loopback,
    ttl: { DeviceCode: 120, IdToken: 300, AccessToken: 300, ClientCredentials: 300, Grant: 300, Session: 300,
      Interaction: 300, RefreshToken: 300 },
    findAccount: (_context, id) => accounts[id] && {
      accountId: id,
      claims: async () => ({ sub: id, ...accounts[id] }),
    },
    cookies: { keys: ['only-for-tests'] },
  });
}

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let answer = make(issuer).callback();
  server.on('request', (request, response) => answer(request, response));
  console.log(`listening ${issuer}`);

  createInterface({ input: process.stdin }).on('line', (line) => {
    const [word, name] = line.split(' ');
    if (word === 'rotate') {
      keys = [key(), ...keys];
      answer = make(issuer).callback();
      console.log(`rotated ${keys[0].kid}`);
    } else if (word === 'disable') {
      delete accounts[name];
      console.log(`disabled ${name}`);
    }
  // Whoever started this holds its standard input; when that closes, nobody needs it any more.
  }).on('close', () => process.exit(0));
});

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
