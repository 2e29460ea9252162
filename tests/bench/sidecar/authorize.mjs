// The service of `ext_authz` as people write it: introspects each token once and keeps the answer.
// Run as: node authorize.mjs ENDPOINT FILE, where FILE is to hold the port that it listens on.
import { renameSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";

const [endpoint, file] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true });
const headers = {
  authorization: "Basic YmVuY2g6YmVuY2gtc2VjcmV0",
  "content-type": "application/x-www-form-urlencoded",
};
const isActive = new Map();

function introspect(token) {
  return new Promise((resolve, reject) => {
    const call = request(endpoint, { method: "POST", agent, headers }, async (response) => {
      let body = "";
      for await (const part of response) body += part;
      resolve(JSON.parse(body).active === true);
    });
    call.on("error", reject);
    call.end(new URLSearchParams({ token }).toString());
  });
}

const server = createServer(async (incoming, outgoing) => {
  const token = (incoming.headers.authorization ?? "").replace(/^Bearer /, "");
  if (!isActive.has(token)) isActive.set(token, await introspect(token));
  outgoing.writeHead(isActive.get(token) ? 200 : 401).end();
});
// A connection that it closes while Envoy sends on it is a failed request.
server.keepAliveTimeout = 0;
server.listen(0, "127.0.0.1", () => {
  writeFileSync(`${file}.new`, String(server.address().port));
  renameSync(`${file}.new`, file);
});
