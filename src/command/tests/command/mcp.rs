//! `check` and `explain`: rules on messages of MCP, and what they need around them.

use crate::check::check;
use crate::paths::listener;
use crate::{http_filter, own_file, root, run};

const DOCUMENT: &str = r#"{"inbound": {"introspection": {"endpoint": "https://as.test/", "cluster": "as", "client_id": "rs", "client_secret": {"env": "S"}}, "audience": "a", "rules": [{"mcp": {"methods": ["ping"]}}]}}"#;

const WASM: &str = "\
- name: oauth2
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: oauth2_filter
      vm_config: { environment_variables: { host_env_keys: [S] } }
      configuration:
        \"@type\": type.googleapis.com/google.protobuf.StringValue
        value: 'DOCUMENT'
";

const NATIVE: &str = "\
- name: oauth2
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
    dynamic_module_config: { name: oauth2_filter }
    filter_name: oauth2
    filter_config:
      \"@type\": type.googleapis.com/google.protobuf.StringValue
      value: 'DOCUMENT'
";

/// The filter `mcp` with these settings.
fn mcp(settings: &str) -> String {
    http_filter("mcp", "mcp.v3.Mcp", settings)
}

/// What a listener needs besides filters, so that nothing else is wrong with it.
const NORMALIZED: &str = "normalize_path: true
merge_slashes: true
path_with_escaped_slashes_action: REJECT_REQUEST
";

/// What is wrong with these filters.
fn errors(filters: &str, document: &str) -> Vec<String> {
    let text = listener(NORMALIZED, filters).replace("DOCUMENT", document);
    let (lines, status) = check(&own_file("yaml", &text));
    let errors: Vec<String> =
        lines.iter().filter(|line| line.contains(": error: ")).cloned().collect();
    assert_eq!(status, i32::from(!errors.is_empty()), "{lines:?}");
    errors
}

#[test]
fn the_filter_that_reads_messages_is_before_ours_and_reads_what_the_service_reads() {
    let safe = "reject_duplicate_keys: true\n";
    let both = "request_storage_mode: DYNAMIC_METADATA_AND_FILTER_STATE\n";
    for (settings, host, part) in [
        (safe.to_owned(), WASM, None),
        (format!("{safe}{both}"), WASM, None),
        (format!("{safe}{both}"), NATIVE, None),
        ("rejectDuplicateKeys: true\ntrafficMode: REJECT_NO_MCP\n".to_owned(), WASM, None),
        (format!("{safe}traffic_mode: 1\nattribute_source: VERIFY\n"), WASM, None),
        ("traffic_mode: PASS_THROUGH\n".to_owned(), WASM, Some("`reject_duplicate_keys: true`")),
        ("reject_duplicate_keys: false\n".to_owned(), WASM, Some("`reject_duplicate_keys: true`")),
        (format!("{safe}traffic_mode: NOOP\n"), WASM, Some("NOOP reads no messages")),
        (format!("{safe}traffic_mode: 2\n"), WASM, Some("NOOP reads no messages")),
        (format!("{safe}attribute_source: HEADERS\n"), WASM, Some("HEADERS takes method")),
        (format!("{safe}request_storage_mode: FILTER_STATE\n"), WASM, Some("DYNAMIC_METADATA`")),
        (safe.to_owned(), NATIVE, Some("the dynamic module requires")),
        (format!("{safe}request_storage_mode: 1\n"), NATIVE, Some("the dynamic module requires")),
    ] {
        let errors = errors(&(mcp(&settings) + host), DOCUMENT);
        match part {
            None => assert!(errors.is_empty(), "{settings}: {errors:?}"),
            Some(part) => {
                assert_eq!(errors.len(), 1, "{settings}: {errors:?}");
                let is_said = errors[0].contains("envoy.filters.http.mcp: ");
                assert!(is_said && errors[0].contains(part), "{settings}: {errors:?}");
            }
        }
    }
    let missing = "rules have `mcp`, but Envoy's filter `mcp` is not before this filter";
    for filters in [WASM.to_owned(), format!("{WASM}{}", mcp(safe))] {
        let errors = errors(&filters, DOCUMENT);
        assert!(errors.len() == 1 && errors[0].contains(missing), "{filters}: {errors:?}");
    }
    let disabled = mcp(safe).replace("- name: mcp\n", "- name: mcp\n  disabled: true\n");
    let errors_of_disabled = errors(&(disabled + WASM), DOCUMENT);
    assert!(errors_of_disabled[0].contains("disabled: "), "{errors_of_disabled:?}");
    // Without such rules, the filter is none of our business.
    let other = DOCUMENT.replace(r#""mcp": {"methods": ["ping"]}"#, r#""methods": ["GET"]"#);
    assert!(errors(&(mcp("traffic_mode: NOOP\n") + WASM), &other).is_empty());
}

#[test]
fn what_no_rule_on_messages_matches_is_denied() {
    let with = |unmatched: &str| {
        DOCUMENT.replace(r#""audience""#, &format!(r#""unmatched": "{unmatched}", "audience""#))
    };
    let filters = mcp("reject_duplicate_keys: true\n") + WASM;
    assert!(errors(&filters, &with("deny")).is_empty());
    for unmatched in ["token", "public"] {
        let errors = errors(&filters, &with(unmatched));
        let text = "inbound.unmatched: must be \"deny\" with rules on messages";
        assert!(errors.len() == 1 && errors[0].contains(text), "{unmatched}: {errors:?}");
    }
    let alone = own_file("json", &with("token"));
    let (lines, status) = check(&alone);
    assert!(lines.iter().any(|line| line.contains("error: inbound.unmatched: ")), "{lines:?}");
    assert_eq!(status, 1);
}

#[test]
fn a_message_is_explained() {
    let path = root().join("envoy/mcp-rules.yaml");
    let explain = |arguments: &[&str]| {
        let path = path.to_str().expect("text");
        let url = ["explain", path, "--url", "https://mcp.example.com/mcp"];
        run([&url[..], arguments].concat())
    };
    for (arguments, rule, decision) in [
        (&["--mcp-tool", "list_orders"][..], "rules[0]", "allowed"),
        (&["--mcp-method", "tools/call", "--mcp-tool", "get_order"], "rules[0]", "allowed"),
        (&["--mcp-method", "notifications/cancelled"], "rules[0]", "allowed"),
        (&["--mcp-tool", "delete_order"], "rules[1]", "denied"),
        (&["--mcp-method", "prompts/list"], "rules[1]", "denied"),
        (&[], "rules[2]", "allowed"),
        (&["--mcp-method", "tools/call"], "rules[0]", "denied"),
        (&["--mcp-tool", "list_orders", "--header", "mcp-name: x"], "rules[0]", "denied"),
        (&["--mcp-tool", "list_orders", "--method", "PUT"], "rules[0]", "denied"),
    ] {
        let ran = explain(&[arguments, &["--scope", "mcp:tools"]].concat());
        let rule = format!("\nrule      inbound.{rule}\n");
        let decision = format!("\ndecision  {decision}\n");
        assert!(
            ran.out.contains(&rule) && ran.out.contains(&decision),
            "{arguments:?} {}",
            ran.out
        );
    }
    let ran = explain(&["--mcp-method", "ping", "--mcp-tool", "x"]);
    assert!(ran.err.contains("--mcp-tool is for --mcp-method tools/call"), "{}", ran.err);
    assert_eq!(ran.status, 2);
}
