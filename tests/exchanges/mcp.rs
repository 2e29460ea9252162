//! What Envoy's filter `mcp` makes of a request, as far as the exchanges need it: the hosts without
//! Envoy have it from here.

use serde_json::{Map, Value, json};

use crate::exchanges::Request;

/// Its results; `None` if it leaves the request alone.
pub fn results(request: &Request) -> Option<Value> {
    let header = |name: &str| request.headers.iter().find(|(known, _)| *known == name);
    let is_json =
        header("content-type").is_some_and(|(_, value)| value.starts_with(b"application/json"));
    if request.method != "POST" || !is_json || header("accept").is_none() {
        return None;
    }
    let mut results = match serde_json::from_slice::<Value>(&request.body) {
        Err(_) => {
            json!({"is_mcp_request": false, "passthrough_reason": "mcp_parse_error"})
        }
        Ok(message) if message["jsonrpc"] != "2.0" => return None,
        Ok(message) => {
            let is_response = message.get("result").is_some() || message.get("error").is_some();
            let method =
                if is_response { "__jsonrpc_response".into() } else { message["method"].clone() };
            let mut results = json!({"is_mcp_request": true, "method": method});
            let params: Map<String, Value> = ["name", "uri"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), message["params"].get(key)?.clone())))
                .collect();
            if !params.is_empty() {
                results["params"] = params.into();
            }
            results
        }
    };
    results["status"] = "mcp_ok".into();
    Some(results)
}
