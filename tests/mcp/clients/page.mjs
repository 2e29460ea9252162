// The page of a client in a browser, with version 2 of the TypeScript SDK. The user signs in in a frame.
import * as module from '@modelcontextprotocol/client';
import { run, second } from './scenario.mjs';

const report = (step) => fetch('/step', { method: 'POST', body: JSON.stringify(step) });
const authorize = (url) => new Promise((resolve) => {
  const frame = document.createElement('iframe');
  addEventListener('message', ({ data }) => {
    frame.remove();
    resolve(new URLSearchParams(data));
  }, { once: true });
  frame.src = url;
  document.body.append(frame);
});
// In browsers, the SDK leaves out the headers of arguments.
const sdk = {
  ...second(module),
  callWithHeader: (client, tool, name, value) =>
    client.callTool({ name: tool, arguments: { [name]: value } }, { headers: { [`mcp-param-${name}`]: value } }),
};
const settings = await (await fetch('/settings')).json();
run({
  ...settings, sdk, redirectUrl: `${location.origin}/callback`, refreshes: true, authorize, report,
}).catch((error) => report({ step: 'failure', error: `${error} ${error.stack}` }));
