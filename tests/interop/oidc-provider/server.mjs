// An authorization server made of oidc-provider, on the loopback port PORT.
//
//   POST /token   POST /token/introspection   POST /token/revocation
//   GET /stats    how often each was called
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import http from 'node:http';
import Provider, { errors } from 'oidc-provider';

const port = Number(process.env.PORT);

// What tokens are for: an opaque token for a service, one that soon expires, and a JWT, which
// this server does not introspect.
const scope = 'orders:read orders:write';
const resource = (audience, accessTokenTTL, accessTokenFormat = 'opaque') =>
  ({ audience, scope, accessTokenTTL, accessTokenFormat, jwt: { sign: { alg: 'RS256' } } });
const orders = 'https://orders.example.com';
const resources = {
  [orders]: resource(orders, 3600),
  'https://short.example.com': resource('https://short.example.com', 3),
  'https://jwt.example.com': resource('https://jwt.example.com', 3600, 'jwt'),
};
const resourceServer = (ctx, name) => {
  if (!resources[name]) throw new errors.InvalidTarget();
  return resources[name];
};

// `svc` gets tokens; the others introspect them.
const client = (client_id, client_secret, method, grant_types) => ({
  client_id, client_secret, grant_types, scope: `openid offline_access ${scope}`,
  redirect_uris: [], response_types: [], token_endpoint_auth_method: method,
});
const clients = [
  client('svc', 'svc-secret', 'client_secret_basic', ['client_credentials', 'password', 'refresh_token']),
  client('rs', 'rs-secret', 'client_secret_basic', ['client_credentials']),
  client('rs-post', 'rs-post-secret', 'client_secret_post', ['client_credentials']),
  // Characters that RFC 6749 section 2.3.1 wants form-encoded before they go into Basic.
  client('odd:client id', 's%c&r=t+/~!', 'client_secret_basic', ['client_credentials']),
];

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ttl = (ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'key', use: 'sig', alg: 'RS256' }] },
  scopes: ['openid', 'offline_access', ...scope.split(' ')],
  ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 86400, Grant: 86400 },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (ctx, { clientId }) => clientId !== 'svc' },
    resourceIndicators: {
      enabled: true, defaultResource: () => orders, getResourceServerInfo: resourceServer,
      useGrantedResource: () => true,
    },
    revocation: { enabled: true },
  },
});

// The password grant, which oidc-provider leaves to those who run it: for its refresh token.
provider.registerGrantType('password', async (ctx) => {
  const { client, params: { username, password } } = ctx.oidc;
  if (username !== 'alice' || password !== 'alice-pw') throw new errors.InvalidGrant();
  const grant = new provider.Grant({ accountId: username, clientId: client.clientId });
  grant.addResourceScope(orders, scope);
  const issued = { accountId: username, client, grantId: await grant.save(), gty: 'password' };
  const access = new provider.AccessToken(issued);
  access.resourceServer = new provider.ResourceServer(orders, resources[orders]);
  access.scope = scope;
  const refresh = new provider.RefreshToken({ ...issued, scope, resource: orders, rotations: 0 });
  ctx.body = {
    access_token: await access.save(), refresh_token: await refresh.save(),
    token_type: access.tokenType, expires_in: access.expiration, scope,
  };
}, ['username', 'password', 'scope']);

const stats = {};
const handle = provider.callback();
http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/stats') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(stats));
    return;
  }
  stats[path] = (stats[path] ?? 0) + 1;
  response.on('finish', () => console.log(request.method, path, response.statusCode));
  handle(request, response);
}).listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));
