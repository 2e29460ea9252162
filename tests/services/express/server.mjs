// A service on Express, from the folder that is the first argument. It listens on the socket that is
// its standard input.
import http from 'node:http';
import { createRequire } from 'node:module';
import { join, posix } from 'node:path';

import { decoded, reading, tunnels, whole } from '../node/reading.mjs';

const require = createRequire(join(process.argv[2], 'package.json'));
const express = require('express');
const cookie = require('cookie');

const app = express();
// What Express 4 does by itself: `a[]=1` is a list.
app.set('query parser', 'extended');

/** A handler that notes the path of the route that runs. */
const route = (path) => (request, response, next) => {
  request.routes.push(typeof path === 'string' ? path : path(request));
  next();
};

app.use((request, response, next) => {
  request.routes = [];
  whole(request, next);
});
app.all('/admin/*rest', route('/admin/*'));
app.all('/public/*rest', route('/public/*'));
app.all('/v1/orders\\:purge', route('/v1/orders:purge'));
// Custom methods of a resource are read from a parameter, which Express decodes.
app.all('/v1/:call', route(({ params }) => `/v1/${params.call}`));
app.use((request, response) => {
  const read = reading(request);
  const path = decoded(request.path);
  response.json({
    ...read,
    service: 'express',
    paths: {
      ...read.paths,
      path,
      // As Express looks for files.
      file: posix.normalize(path),
      // Without parameters, as servlet containers look for a path.
      plain: path.replace(/;[^/]*/g, ''),
      ...Object.fromEntries(request.routes.entries()),
    },
    hosts: { ...read.hosts, hostname: request.hostname },
    query: request.query,
    cookies: cookie.parse(request.headers.cookie ?? ''),
  });
});

const server = http.createServer(app);
tunnels(server, 'express');
server.listen({ fd: 0 });
