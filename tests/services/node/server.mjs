// A service on Node's own `http`. It listens on the socket that is its standard input.
import http from 'node:http';

import { reading, tunnels, whole } from './reading.mjs';

const server = http.createServer((request, response) => {
  whole(request, () => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ service: 'node', ...reading(request) }));
  });
});
tunnels(server, 'node');
server.listen({ fd: 0 });
