// An authorization server made of oidc-provider, on the loopback port PORT, and with TLS on
// TLS_PORT. In the folder KEYS it finds server.pem, server.key and clients-ca.pem, and leaves the
// keys rsa.pem and ec.pem for the client that signs.
//
//   POST /token   POST /token/introspection   POST /token/revocation
//   GET /stats    how often each was called
//   GET /grants   every request for a token: whose it was, how it was made, what came of it
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import Provider, { errors } from 'oidc-provider';

const port = Number(process.env.PORT);
const file = (name) => join(process.env.KEYS, name);

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

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
// Clients whose tokens live for 3 s only.
const hasty = ['shop-user', 'shop-refresh'];
const resourceServer = (ctx, name, { clientId }) => {
  if (!resources[name]) throw new errors.InvalidTarget();
  return hasty.includes(clientId) ? { ...resources[name], accessTokenTTL: 3 } : resources[name];
};

// The keys of the client that signs.
const pair = (name, type, options) => {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  writeFileSync(file(name), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return publicKey.export({ format: 'jwk' });
};
const jwks = {
  keys: [
    { ...pair('rsa.pem', 'rsa', { modulusLength: 2048 }), kid: 'rsa', use: 'sig' },
    { ...pair('ec.pem', 'ec', { namedCurve: 'P-256' }), kid: 'ec', use: 'sig' },
  ],
};

const client = (client_id, client_secret, method, grant_types, more = {}) => ({
  client_id, client_secret, grant_types, scope: `openid offline_access ${scope}`,
  redirect_uris: [], response_types: [], token_endpoint_auth_method: method, ...more,
});
const own = ['client_credentials'];
const clients = [
  // `svc` gets tokens, and may revoke those of others.
  client('svc', 'svc-secret', 'client_secret_basic', ['client_credentials', 'password', 'refresh_token']),
  // These introspect them.
  client('rs', 'rs-secret', 'client_secret_basic', own),
  client('rs-post', 'rs-post-secret', 'client_secret_post', own),
  client('rs-key', undefined, 'private_key_jwt', own, { jwks }),
  // Characters that RFC 6749 section 2.3.1 wants form-encoded before they go into Basic.
  client('odd:client id', 's%c&r=t+/~!', 'client_secret_basic', own),
  // For these the filter gets tokens.
  client('shop', 'shop-secret', 'client_secret_basic', own),
  client('shop-post', 'shop-post-secret', 'client_secret_post', own),
  client('shop-key', undefined, 'private_key_jwt', own, { jwks }),
  client('shop-certificate', undefined, 'tls_client_auth', own, { tls_client_auth_san_dns: 'shop.test' }),
  client('shop-user', 'shop-user-secret', 'client_secret_basic', ['password', 'refresh_token']),
  client('shop-refresh', 'shop-refresh-secret', 'client_secret_basic', ['password', 'refresh_token']),
  client('shop-exchange', 'shop-exchange-secret', 'client_secret_basic', [tokenExchange]),
];

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ttl = (ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600;
const certificate = (ctx) => ctx.socket.getPeerCertificate?.(true);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth'],
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'key', use: 'sig', alg: 'RS256' }] },
  scopes: ['openid', 'offline_access', ...scope.split(' ')],
  ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 86400, Grant: 86400 },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  // Who acts for the user, where a token was exchanged.
  extraTokenClaims: (ctx, { extra }) => extra,
  // Each refresh token is good for once; who sends it again loses the whole grant.
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (ctx, { clientId }) => clientId !== 'svc' },
    mTLS: {
      enabled: true, tlsClientAuth: true,
      getCertificate: (ctx) => {
        const { raw } = certificate(ctx) ?? {};
        return raw && new X509Certificate(raw);
      },
      certificateAuthorized: (ctx) => ctx.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' && certificate(ctx).subjectaltname === `DNS:${expected}`,
    },
    resourceIndicators: {
      enabled: true, defaultResource: () => orders, getResourceServerInfo: resourceServer,
      useGrantedResource: () => true,
    },
    revocation: {
      enabled: true,
      allowedPolicy: (ctx, { clientId }, token) => clientId === 'svc' || clientId === token.clientId,
    },
  },
});

// oidc-provider leaves these grants to those who run it.
const issue = async (ctx, accountId, gty, extra) => {
  const { client, params } = ctx.oidc;
  const name = params.resource ?? orders;
  const server = resourceServer(ctx, name, client);
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  grant.addResourceScope(name, scope);
  const issued = { accountId, client, grantId: await grant.save(), gty };
  const access = new provider.AccessToken({ ...issued, extra });
  access.resourceServer = new provider.ResourceServer(name, server);
  access.scope = params.scope ?? scope;
  const refresh = new provider.RefreshToken({ ...issued, scope, resource: name, rotations: 0 });
  const access_token = await access.save();
  ctx.body = { access_token, token_type: access.tokenType, expires_in: access.expiration, scope: access.scope };
  return { refresh };
};

provider.registerGrantType('password', async (ctx) => {
  const { username, password } = ctx.oidc.params;
  if (username !== 'alice' || password !== 'alice-pw') throw new errors.InvalidGrant();
  const { refresh } = await issue(ctx, username, 'password');
  ctx.body.refresh_token = await refresh.save();
}, ['username', 'password', 'scope', 'resource'], []);

provider.registerGrantType(tokenExchange, async (ctx) => {
  const { params } = ctx.oidc;
  const owner = async (token, type) => {
    const found = type === accessTokenType
      && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
    // RFC 8693 section 2.2.2.
    if (!found?.isValid) throw new errors.InvalidRequest('a token is not valid, or not known');
    return found.accountId ?? found.clientId;
  };
  const subject = await owner(params.subject_token, params.subject_token_type);
  const extra = params.actor_token
    && { act: { sub: await owner(params.actor_token, params.actor_token_type) } };
  await issue(ctx, subject, tokenExchange, extra);
  ctx.body.issued_token_type = accessTokenType;
}, [
  'scope', 'resource', 'requested_token_type', 'subject_token', 'subject_token_type', 'actor_token',
  'actor_token_type',
], []);

const grants = [];
const note = (ctx, error) => {
  const { client, params } = ctx.oidc;
  const { client_assertion: assertion, grant_type, refresh_token, resource, scope, subject_token, actor_token } = params ?? {};
  const [header, claims] = (assertion ?? '').split('.', 2)
    .map((part) => part && JSON.parse(Buffer.from(part, 'base64url')));
  grants.push({
    client_id: client?.clientId ?? null, method: client?.clientAuthMethod ?? null,
    alg: header?.alg, typ: header?.typ, jti: claims?.jti,
    certificate: certificate(ctx)?.subjectaltname,
    grant_type, scope, resource, refresh_token, subject_token, actor_token,
    error: error?.error, access_token: error ? undefined : ctx.body.access_token,
  });
};
provider.on('grant.success', (ctx) => note(ctx));
provider.on('grant.error', note);
provider.on('server_error', (ctx, error) => console.error(error));

const stats = {};
const handle = provider.callback();
const json = { '/stats': stats, '/grants': grants };
const answer = (request, response) => {
  const path = request.url.split('?')[0];
  if (json[path]) {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(json[path]));
    return;
  }
  stats[path] = (stats[path] ?? 0) + 1;
  response.on('finish', () => console.log(request.method, path, response.statusCode));
  handle(request, response);
};
const tls = {
  cert: readFileSync(file('server.pem')), key: readFileSync(file('server.key')),
  ca: readFileSync(file('clients-ca.pem')), requestCert: true, rejectUnauthorized: false,
};
https.createServer(tls, answer).listen(Number(process.env.TLS_PORT), '127.0.0.1', () => {
  http.createServer(answer).listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));
});
