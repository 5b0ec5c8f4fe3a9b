// A certified OpenID provider on loopback, so that sign-in is tested against somebody else's
// reading of the standards. Everything is in memory.
//
//   node server.mjs [PORT [CONTROL]]  prints `listening http://127.0.0.1:PORT` once it is up
//
// One client, `portcullis` (secret `portcullis-secret`), may use the device flow; and the code flow with
// back-channel logout, if the control URL is given and the provider is called `outside` there. Accounts:
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

const device = 'urn:ietf:params:oauth:grant-type:device_code';

function registration(control) {
  if (!control) return { grant_types: [device], response_types: [], redirect_uris: [] };
  return {
    grant_types: [device, 'authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [`${control}/sign-in/callback`],
    backchannel_logout_uri: `${control}/sign-in/outside/logged-out`,
    backchannel_logout_session_required: true,
  };
}

// The provider calls nobody on loopback unless it is told to.
const loopback = (url, options) => { delete options.dispatcher; return fetch(url, options); };

const server = createServer();
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'portcullis',
      client_secret: 'portcullis-secret',
      ...registration(process.argv[3]),
    }],
    scopes: ['openid', 'email', 'profile', 'groups'],
    claims: {
      openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'],
      auth_time: null, amr: null,
    },
    // Claims belong into the ID token: nothing else is asked for them.
    conformIdTokenClaims: false,
    features: {
      deviceFlow: { enabled: true }, devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    pkce: { required: (_context, client) => client.responseTypes.length > 0 },
    // Sessions of the browser are told apart in ID tokens, for back-channel logout.
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed('refresh_token'),
    fetch: loopback,
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
