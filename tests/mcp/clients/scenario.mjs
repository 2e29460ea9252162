// What each TypeScript client does, in Node.js and in a browser. `report` gets one object for each step.

/** Keeps what the SDK obtains. `authorize` is the user's browser: from the URL that it opens to the parameters of the redirect. */
class Provider {
  constructor({ redirectUrl, metadataUrl, refreshes, authorize }) {
    Object.assign(this, { redirectUrl, clientMetadataUrl: metadataUrl, authorize });
    this.clientMetadata = {
      client_name: 'A TypeScript client', redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', ...refreshes ? ['refresh_token'] : []],
      response_types: ['code'], token_endpoint_auth_method: 'none',
    };
  }
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  codeVerifier() { return this.verifier; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  discoveryState() { return this.discovered; }
  saveDiscoveryState(state) { this.discovered = state; }
  redirectToAuthorization(url) { this.callback = this.authorize(url); }
}

/** `sdk` is one of the two below; `era` is what the client negotiates, `legacy` or `auto`. */
export const run = async ({ sdk, url, era, seconds, report, ...options }) => {
  const provider = new Provider(options);
  let transport;
  // The user signs in, as often as the client asks for it.
  const signedIn = async (what) => {
    for (;;) {
      try {
        return await what();
      } catch (error) {
        if (!(error instanceof sdk.UnauthorizedError)) throw error;
        await transport.finishAuth(sdk.finished(await provider.callback));
      }
    }
  };

  const client = sdk.client({ name: 'typescript', version: '1.0.0' }, era);
  let changes = 0;
  sdk.onToolsChanged(client, () => { changes += 1; });
  await signedIn(() => {
    transport = new sdk.Transport(new URL(url), { authProvider: provider });
    return client.connect(transport);
  });
  report({ step: 'connect', protocol: sdk.protocol(client, transport) });
  const call = (name, args = {}, more = {}) => signedIn(() => sdk.call(client, { name, arguments: args }, more));
  const text = ({ content: [{ text }] }) => text;
  const attempt = async (step, what) => {
    try {
      report({ step, text: text(await what()) });
    } catch (error) {
      report({ step, error: String(error) });
    }
  };

  const { tools } = await client.listTools();
  report({ step: 'tools', tools: tools.map(({ name }) => name) });
  await attempt('call', () => call('list_orders', { status: 'open' }));
  if (sdk.callWithHeader) await attempt('header', () => sdk.callWithHeader(client, 'list_orders', 'status', 'open'));

  const subscription = await sdk.listen(client);
  const began = Date.now();
  let progress = 0;
  const streamed = await call('get_order', { seconds }, { onprogress: () => { progress += 1; } });
  report({ step: 'stream', text: text(streamed), progress, changes, seconds: (Date.now() - began) / 1000 });
  await subscription?.close();
  report({ step: 'refresh', text: text(await call('list_orders')) });

  await attempt('admin', () => call('delete_order'));
  report({ step: 'after', text: text(await call('list_orders')) });
  await transport.terminateSession();
  await client.close();
  report({ step: 'end', token: provider.tokens().access_token });
};

/** `@modelcontextprotocol/sdk`, whose parts are modules. */
export const first = (index, http, auth, types) => ({
  Transport: http.StreamableHTTPClientTransport, UnauthorizedError: auth.UnauthorizedError,
  client: (info) => new index.Client(info),
  finished: (parameters) => parameters.get('code'),
  protocol: (client, transport) => transport.protocolVersion,
  onToolsChanged: (client, handle) => client.setNotificationHandler(types.ToolListChangedNotificationSchema, handle),
  listen: async () => {},
  call: (client, params, more) => client.callTool(params, undefined, more),
});

/** `@modelcontextprotocol/client`. */
export const second = (module) => ({
  Transport: module.StreamableHTTPClientTransport, UnauthorizedError: module.UnauthorizedError,
  client: (info, era) => new module.Client(info, { versionNegotiation: { mode: era } }),
  finished: (parameters) => parameters,
  protocol: (client) => client.getNegotiatedProtocolVersion(),
  onToolsChanged: (client, handle) => client.setNotificationHandler('notifications/tools/list_changed', handle),
  listen: (client) => client.getProtocolEra() === 'modern' ? client.listen({ toolsListChanged: true }) : undefined,
  call: (client, params, more) => client.callTool(params, more),
});
