// An authorization server made of oidc-provider on the loopback port PORT, as MCP clients expect one:
// authorization code and PKCE, dynamic registration, client ID metadata documents, `resource`. Its only
// user, alice, is signed in and consents to everything without a question. SCOPES, a JSON object, has
// those of each resource. Tokens are opaque; the first of each sign-in is valid for FIRST_TTL seconds,
// refreshed ones for an hour.
//
//   GET /log    registrations, authorization requests, those that were refused, and token requests
import { randomBytes, generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import Provider, { errors } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';

const port = Number(process.env.PORT);
const issuer = `http://127.0.0.1:${port}`;
const scopes = JSON.parse(process.env.SCOPES);

// oidc-provider never grants more than the scope that a client registered with, and clients register
// with the scope of their first challenge. Without one, there is no such limit.
class Adapter extends MemoryAdapter {
  upsert(id, { scope: registered, ...payload }, ...rest) {
    return super.upsert(id, this.model === 'Client' ? payload : { scope: registered, ...payload }, ...rest);
  }
}

const machine = { redirect_uris: [], response_types: [] };
const metadataDocument = (client_id) => ({
  client_id, client_name: 'A client with a document', application_type: 'native',
  redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'], token_endpoint_auth_method: 'none',
});

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  adapter: Adapter,
  clients: [
    { client_id: 'mcp-server', client_secret: process.env.MCP_SERVER_SECRET, grant_types: [], ...machine },
    { client_id: 'machine', client_secret: 'machine-secret', grant_types: ['client_credentials'], ...machine },
  ],
  clientBasedCORS: () => true,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  // What a client ID names is not fetched, but made here.
  fetch: async (url) => Response.json(metadataDocument(String(url))),
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'key', use: 'sig', alg: 'RS256' }] },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', ...Object.values(scopes).flatMap((scope) => scope.split(' '))],
  ttl: {
    AccessToken: (ctx, token) => token.gty === 'authorization_code' ? Number(process.env.FIRST_TTL) : 3600,
    Grant: 86400, Interaction: 600, RefreshToken: 86400, Session: 86400,
  },
  features: {
    clientCredentials: { enabled: true },
    clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (ctx, { clientId }) => clientId === 'mcp-server' },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true, defaultResource: () => undefined, useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => {
        if (!Object.hasOwn(scopes, resource)) throw new errors.InvalidTarget();
        return { audience: resource, scope: scopes[resource], accessTokenFormat: 'opaque' };
      },
    },
  },
});

const interact = async (request, response) => {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'alice' } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  grant.addResourceScope(params.resource, params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
};

const log = [];
const note = (what) => (ctx, client) => {
  const { client: known, params } = ctx.oidc;
  const { grant_type, scope: asked, resource } = params ?? {};
  const client_id = known?.clientId ?? client?.clientId;
  log.push({ what, client_id, grant_type, scope: asked, resource, registered: ctx.oidc.body?.redirect_uris });
};
provider.on('authorization.accepted', note('authorization'));
provider.on('authorization.error', note('refused'));
provider.on('grant.error', (ctx, error) => console.error('token request refused:', error));
provider.on('grant.success', note('token'));
provider.on('registration_create.success', note('registration'));
provider.on('registration_create.error', (ctx, error) => console.error('registration refused:', error));
provider.on('server_error', (ctx, error) => console.error(error));

const handle = provider.callback();
http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  response.on('finish', () => console.log(request.method, path, response.statusCode));
  if (path === '/log') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(log));
  } else if (path.startsWith('/interaction/')) {
    interact(request, response).catch((error) => {
      console.error(error);
      response.writeHead(500).end();
    });
  } else {
    handle(request, response);
  }
}).listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));
