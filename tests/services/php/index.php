<?php
// A program in PHP, by FastCGI.

/** Texts without those that are missing. */
function known(array $texts): array
{
    return array_filter($texts, fn ($text) => is_string($text));
}

/** The token as Laravel takes it out, and as most programs without a framework do. */
function bearer(string $header): array
{
    $tokens = [];
    $position = strrpos($header, 'Bearer ');
    if ($position !== false) {
        $tokens[] = strtok(substr($header, $position + 7), ',');
    }
    if (preg_match('/Bearer\s+(\S+)/i', $header, $found)) {
        $tokens[] = $found[1];
    }
    return array_values(array_filter($tokens));
}

$target = $_SERVER['REQUEST_URI'];
$url = parse_url($target) ?: [];
$host = $_SERVER['HTTP_HOST'] ?? '';
$info = $_SERVER['PATH_INFO'] ?? '';
$headers = array_filter($_SERVER, fn ($name) => str_starts_with($name, 'HTTP_'), ARRAY_FILTER_USE_KEY);
header('Content-Type: application/json');
echo json_encode([
    'service' => 'php',
    'method' => $_SERVER['REQUEST_METHOD'],
    'target' => $target,
    'paths' => known([
        'PATH_INFO' => $info,
        // The server has decoded it once already, which programs forget.
        'decoded again' => rawurldecode($info),
        'parse_url' => rawurldecode($url['path'] ?? ''),
    ]),
    'hosts' => known([
        'SERVER_NAME' => $_SERVER['SERVER_NAME'] ?? null,
        'parse_url' => $url['host'] ?? null,
        'authority' => parse_url("http://$host", PHP_URL_HOST),
        'HTTP_HOST' => preg_replace('/:\d+$/', '', $host),
    ]),
    'headers' => (object) $headers,
    'trailers' => (object) [],
    'query' => (object) $_GET,
    'cookies' => (object) $_COOKIE,
    'bearer' => bearer($_SERVER['HTTP_AUTHORIZATION'] ?? ''),
], JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES), "\n";
