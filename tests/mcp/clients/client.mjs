// client.mjs 1|2: a client of this version of the TypeScript SDK, which prints its steps. `SETTINGS` is
// JSON: `url`, `era`, `seconds`, `agent`, and for some `metadataUrl` or `refreshes: false`.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { first, run, second } from './scenario.mjs';

const part = (name) => import(`@modelcontextprotocol/sdk/${name}.js`);
const sdk = process.argv[2] === '1'
  ? first(...await Promise.all(['client/index', 'client/streamableHttp', 'client/auth', 'types'].map(part)))
  : second(await import('@modelcontextprotocol/client'));
const { agent, ...settings } = JSON.parse(process.env.SETTINGS);
await run({
  redirectUrl: 'http://127.0.0.1:1/callback', refreshes: true, ...settings, sdk,
  authorize: async (url) => {
    const { stdout } = await promisify(execFile)(agent, [String(url)]);
    return new URL(stdout.trim()).searchParams;
  },
  report: (step) => console.log(JSON.stringify(step)),
});
process.exit();
