// What programs on Node.js make of a request: its path, its host, and the token in it.

/** Percent-decoded; what is not UTF-8 stays as it is. */
export const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** What `read` returns; null for what it refuses. */
const unless = (read) => {
  try {
    return read();
  } catch {
    return null;
  }
};

/** The token in a value of `Authorization`, as it is usually taken out: by splitting at white space. */
const bearer = (value) => {
  const [scheme, token] = (value ?? '').trim().split(/\s+/);
  return scheme.toLowerCase() === 'bearer' && token ? [token] : [];
};

/** The members of an answer that every program here has. */
export const reading = (request) => {
  const { host } = request.headers;
  const url = unless(() => new URL(request.url, `http://${host}`));
  const authority = unless(() => new URL(`http://${host}`));
  return {
    method: request.method,
    target: request.url,
    paths: { url: url && decoded(url.pathname) },
    hosts: { url: url?.hostname, authority: authority?.hostname },
    headers: request.headers,
    trailers: request.trailers,
    query: url ? Object.fromEntries(url.searchParams) : {},
    cookies: {},
    bearer: bearer(request.headers.authorization),
  };
};

/** Calls `then` once the request has been read to its end, where its trailers are. */
export const whole = (request, then) => request.resume().on('end', then);

/** Answers what is no ordinary request: it has no body, so a field tells what was read. */
export const tunnels = (server, name) => {
  const answer = (line) => (request, socket) => {
    const read = JSON.stringify({ service: name, ...reading(request) });
    socket.on('error', () => {});
    socket.write(`HTTP/1.1 ${line}\r\nx-read: ${read}\r\n\r\n`);
    socket.resume().on('end', () => socket.end());
  };
  server.on('connect', answer('200 OK'));
  const switching = '101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket';
  server.on('upgrade', answer(switching));
};
