// A certified OpenID provider on loopback, so that sign-in is tested against somebody else's
// reading of the standards. Everything is in memory.
//
//   node server.mjs [PORT]            prints `listening http://127.0.0.1:PORT` once it is up
//
// One client, `portcullis` (secret `portcullis-secret`), may use the device flow. Accounts:
//   ana   verified e-mail, groups engineers and on-call
//   ben   unverified e-mail, groups engineers
//   sam   verified e-mail, no groups claim at all
// The forms are the provider's own; `confirm.mjs` fills them in.

import Provider from 'oidc-provider';
import { createServer } from 'node:http';

const accounts = {
  ana: { name: 'Ana Prata', email: 'Ana@Example.com', email_verified: true,
    groups: ['engineers', 'on-call'] },
  ben: { name: 'Ben Ito', email: 'ben@example.com', email_verified: false, groups: ['engineers'] },
  sam: { name: 'Sam Roy', email: 'sam@example.com', email_verified: true },
};

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'portcullis',
      client_secret: 'portcullis-secret',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      response_types: [],
      redirect_uris: [],
    }],
    scopes: ['openid', 'email', 'profile', 'groups'],
    claims: {
      openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'],
      auth_time: null, amr: null,
    },
    // Claims belong into the ID token: nothing else is asked for them.
    conformIdTokenClaims: false,
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    ttl: { DeviceCode: 120, IdToken: 300, AccessToken: 300, Grant: 300, Session: 300, Interaction: 300 },
    findAccount: (_context, id) => accounts[id] && {
      accountId: id,
      claims: async () => ({ sub: id, ...accounts[id] }),
    },
    cookies: { keys: ['only-for-tests'] },
  });
  server.on('request', provider.callback());
  console.log(`listening ${issuer}`);
});

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
// Whoever started this holds its standard input; when that closes, nobody needs it any more.
process.stdin.on('end', () => process.exit(0)).resume();
