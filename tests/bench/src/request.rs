//! The one request that every proxy gets, with one token or another.

/// Its head without the token, and without its end: a browser's fields, as services see them.
pub fn head() -> String {
    format!("GET /orders/1234 HTTP/1.1\r\n{FIELDS}")
}

/// The whole of it.
pub fn with_token(token: &str) -> String {
    format!("{}Authorization: Bearer {token}\r\n\r\n", head())
}

const FIELDS: &str = "Host: orders.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Cache-Control: no-cache\r\n\
    Cookie: session=4f2c1d0e9b8a7f6e5d4c3b2a19080706; theme=dark\r\n\
    Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
