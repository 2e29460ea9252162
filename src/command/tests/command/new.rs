//! `new`: configurations to start with.

use std::process::Command;

use oauth2_filter_testbed::envoy::binary;

use crate::{file, root, run};

/// The arguments for a configuration.
fn arguments(directions: &str, is_istio: bool) -> Vec<&str> {
    ["new", directions].into_iter().chain(is_istio.then_some("--istio")).collect()
}

#[test]
fn a_new_configuration_has_nothing_to_check_and_nothing_left_to_fill_in() {
    for directions in ["inbound", "outbound", "both"] {
        for is_istio in [false, true] {
            let ran = run(arguments(directions, is_istio));
            assert_eq!((ran.status, ran.err.as_str()), (0, ""));
            let path = file(&format!("new/{directions}-{is_istio}.yaml"), &ran.out);
            let path = path.to_str().expect("text");
            let checked = run(["check", "--strict", path]);
            assert_eq!(checked.status, 0, "{}", checked.out);
            let uses = if directions == "both" { "2 configurations of the filter, " } else { "" };
            assert_eq!(checked.out, format!("{path}: {uses}no errors, no warnings\n"));
            let is_placeholder = |word: &&str| {
                ["TITLE", "DIRECTION", "ADDRESS", "PORT", "UPSTREAM", "VARIABLE", "VARIABLES"]
                    .contains(word)
                    || ["DOCUMENT", "LISTENERS", "CLUSTERS", "CLUSTER", "MODE", "PHASE", "VERSION"]
                        .contains(word)
            };
            let words = ran.out.split(|c: char| !c.is_ascii_alphanumeric());
            assert_eq!(words.filter(is_placeholder).count(), 0, "{}", ran.out);
            let is_neat = |line: &str| {
                line == line.trim_end() && (line.len() <= 100 || line.contains("@type"))
            };
            assert!(ran.out.lines().all(is_neat), "{}", ran.out);
        }
    }
}

#[test]
fn a_new_configuration_loads_in_envoy() {
    for directions in ["inbound", "outbound", "both"] {
        let path = file(&format!("new/{directions}.yaml"), &run(arguments(directions, false)).out);
        let validate = |with: &[(&str, &str)]| {
            Command::new(binary())
                .current_dir(root())
                .envs(with.iter().copied())
                .args(["--mode", "validate", "--log-level", "warning", "--config-path"])
                .arg(&path)
                .output()
                .expect("Envoy runs")
        };
        let output = validate(&[("INTROSPECTION_SECRET", "a"), ("TOKEN_SECRET", "b")]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !log.contains("[warning]"), "{directions}: {log}");
        // It is the filter that loads: without its secret it does not.
        assert!(!validate(&[]).status.success(), "{directions}");
    }
}
