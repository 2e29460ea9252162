// An MCP server of the TypeScript SDK on the loopback port that is its argument: with sessions for
// revision 2025-11-25, without for 2026-07-28. It prints each tool that it executes, with headers of the
// request.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import {
  createMcpHandler, isLegacyRequest, McpServer, WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server';
import * as z from 'zod';

const headers = ['mcp-protocol-version', 'mcp-param-status', 'x-user', 'x-scope', 'authorization', 'origin'];
const executed = (tool, { http: { req } }) => {
  const seen = Object.fromEntries(headers.map((name) => [name, req.headers.get(name)]));
  console.log(`executed ${tool} ${JSON.stringify(seen)}`);
  return { content: [{ type: 'text', text: `${tool}: done` }] };
};

// Clients of revision 2026-07-28 send such an argument in a header, too.
const status = z.string().default('any').meta({ 'x-mcp-header': 'Status' });
const mcpServer = (changed) => {
  const server = new McpServer({ name: 'typescript', version: '1.0.0' });
  server.registerTool('list_orders', { inputSchema: z.object({ status }) }, (_, context) => executed('list_orders', context));
  server.registerTool('delete_order', {}, (context) => executed('delete_order', context));
  // Reports its progress in its own response, and changes of the list of tools in the stream of events.
  const inputSchema = z.object({ seconds: z.int().default(0) });
  server.registerTool('get_order', { inputSchema }, async ({ seconds }, context) => {
    const { progressToken } = context.mcpReq._meta ?? {};
    for (let second = 0; second < seconds; second++) {
      if (progressToken !== undefined) {
        await context.mcpReq.notify({
          method: 'notifications/progress', params: { progressToken, progress: second + 1, total: seconds },
        });
      }
      changed(server);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    return executed('get_order', context);
  });
  return server;
};

const modern = createMcpHandler(() => mcpServer(() => modern.notify.toolsChanged()), { legacy: 'reject' });
const sessions = new Map();
const legacy = async (request) => {
  const known = sessions.get(request.headers.get('mcp-session-id'));
  if (known) return known.handleRequest(request);
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => { sessions.set(id, transport); },
    onsessionclosed: (id) => { sessions.delete(id); },
  });
  await mcpServer((server) => server.sendToolListChanged()).connect(transport);
  return transport.handleRequest(request);
};
const handle = toNodeHandler({
  fetch: async (request) => await isLegacyRequest(request) ? legacy(request) : modern.fetch(request),
}, { onerror: console.error });

const validHost = localhostHostValidation();
const validOrigin = localhostOriginValidation();
http.createServer((request, response) => {
  if (!validHost(request, response) || !validOrigin(request, response)) return;
  if (new URL(request.url, 'http://127.0.0.1').pathname === '/mcp') handle(request, response);
  else response.writeHead(404).end();
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
