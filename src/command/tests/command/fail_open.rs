//! `check` on configurations of Envoy that let requests bypass the filter.

use crate::check::{FINE, at, bootstrap, check, document, finds};
use crate::file;

#[test]
fn a_plugin_that_envoy_lets_requests_by_is_warned_of() {
    let text = "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: '{}'\n";
    let text = bootstrap(text, "");
    let open = "warning: FAIL_OPEN: after a crash, requests bypass";
    let restricted = "warning: capability_restriction_config: Envoy disables callbacks";
    for (line, said) in [
        ("failure_policy: FAIL_OPEN", open),
        ("failure_policy: 3", open),
        ("failurePolicy: 3", open),
        ("fail_open: true", open),
        ("failure_policy: 1", ""),
        ("failure_policy: FAIL_CLOSED", ""),
        ("fail_open: false", ""),
        ("capability_restriction_config: { allowed_capabilities: { proxy_log: {} } }", restricted),
        ("capability_restriction_config: { allowed_capabilities: {} }", ""),
        ("capability_restriction_config: {}", ""),
    ] {
        let text =
            text.replace("vm_config:", &format!("{line}\n                        vm_config:"));
        let (lines, _) = check(&file("fail-open/open.yaml", &text));
        let warnings: Vec<_> = lines.iter().filter(|line| line.contains("warning: ")).collect();
        match said {
            "" => assert!(warnings.is_empty(), "{line}: {warnings:?}"),
            _ => {
                assert!(warnings.iter().any(|it| it.contains(said)), "{line}: {lines:?}");
            }
        }
    }
}

/// A bootstrap whose filter has this document, and this beside its configuration.
fn filter(document: &str, beside: &str) -> String {
    let configuration = format!(
        "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: '{}'\n",
        document.replace('\n', "")
    );
    let typed = "                    typed_config:\n                      \"@type\"";
    let beside = format!("                    {beside}\n{typed}");
    bootstrap(&configuration, "").replace(typed, &beside)
}

const OUTBOUND: &str = r#"{"outbound": {"clients": {"a": {"grant_type": "direct_token",
    "access_token": {"env": "SECRET"}}}, "rules": [{"hosts": ["a.test"], "client": "a"}]}}"#;

#[test]
fn an_inbound_filter_that_only_some_routes_enable_is_warned_of() {
    for (beside, document, is_warned) in [
        ("disabled: true", document(""), true),
        ("disabled: false", document(""), false),
        ("is_optional: true", document(""), false),
        // Without a filter there is no token, which the service rejects.
        ("disabled: true", OUTBOUND.to_owned(), false),
    ] {
        let text = filter(&document, beside);
        if is_warned {
            let line = format!(
                "{}: warning: disabled: true: requests bypass the filter except on routes that \
                 enable it; remove it, and disable the filter on the routes that do not need it",
                at(&text, "disabled")
            );
            finds("fail-open/disabled.yaml", &text, &[&line, "no errors, 1 warning"]);
        } else {
            finds("fail-open/enabled.yaml", &text, &[FINE]);
        }
    }
}

#[test]
fn another_filter_that_is_disabled_is_no_concern() {
    let text = filter(&document(""), "is_optional: true").replace(
        "                  - name: oauth2\n",
        "                  - name: cors
                    disabled: true
                    typed_config: { \"@type\": a/envoy.extensions.filters.http.cors.v3.Cors }
                  - name: oauth2\n",
    );
    assert!(text.contains("disabled"));
    finds("fail-open/cors.yaml", &text, &[FINE]);
}

#[test]
fn a_route_that_disables_the_filter_is_as_the_guide_says() {
    let text = filter(&document(""), "is_optional: true").replace(
        "                http_filters:\n",
        "                route_config:
                  virtual_hosts:
                    - name: health
                      typed_per_filter_config:
                        oauth2:
                          \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig
                          disabled: true
                http_filters:\n",
    );
    assert!(text.contains("disabled"));
    finds("fail-open/route.yaml", &text, &[FINE]);
}
