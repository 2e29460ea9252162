//! The filter of this project, or another proxy-wasm one, as an HTTP filter of Envoy.

use std::{fmt, path::PathBuf};

use serde_json::{Map, Value, json};

use super::workspace;

/// A proxy-wasm HTTP filter with its configuration: by default ours, with `FAIL_RELOAD`.
#[derive(Clone, Debug)]
pub struct WasmPlugin {
    configuration: Value,
    root_id: String,
    vm_id: String,
    file: Option<PathBuf>,
    failure_policy: FailurePolicy,
    environment: Map<String, Value>,
}

impl WasmPlugin {
    /// With this text, or JSON value, in a `google.protobuf.StringValue`.
    pub fn new(configuration: &(impl fmt::Display + ?Sized)) -> Self {
        Self::configured(json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        }))
    }

    /// With this object, in a `google.protobuf.Struct`.
    pub fn with_struct(configuration: &Value) -> Self {
        Self::configured(json!({
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": configuration,
        }))
    }

    /// Without any configuration.
    pub fn unconfigured() -> Self {
        Self::configured(Value::Null)
    }

    /// With this `google.protobuf.Any`.
    pub fn configured(configuration: Value) -> Self {
        Self {
            configuration,
            root_id: "oauth2".to_owned(),
            vm_id: "oauth2".to_owned(),
            file: None,
            failure_policy: FailurePolicy::FailReload,
            environment: Map::new(),
        }
    }

    /// Sets the root id.
    #[must_use]
    pub fn root_id(mut self, root_id: &str) -> Self {
        root_id.clone_into(&mut self.root_id);
        self
    }

    /// Sets the VM id: plugins of one VM id share VM and data.
    #[must_use]
    pub fn vm_id(mut self, vm_id: &str) -> Self {
        vm_id.clone_into(&mut self.vm_id);
        self
    }

    /// Runs this file instead of our filter.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets what happens when the plugin panics.
    #[must_use]
    pub const fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.failure_policy = policy;
        self
    }

    /// Adds an environment variable of the VM.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// The entry for a list of HTTP filters.
    pub fn filter(&self, name: &str) -> Value {
        json!({"name": name, "typed_config": self.typed_config()})
    }

    /// The configuration of the filter, as a discovered filter has it. Panics if our filter has
    /// not been built.
    pub fn typed_config(&self) -> Value {
        let file = self.file.clone().unwrap_or_else(|| {
            let file = workspace().join("target/oauth2_filter.wasm");
            assert!(file.is_file(), "no {}: run `make build`", file.display());
            file
        });
        let mut config = json!({
            "name": self.root_id,
            "root_id": self.root_id,
            "failure_policy": self.failure_policy.name(),
            "vm_config": {
                "vm_id": self.vm_id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": file}},
                "environment_variables": {"key_values": self.environment},
            },
        });
        if !self.configuration.is_null() {
            config["configuration"] = self.configuration.clone();
        }
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": config,
        })
    }
}

/// What Envoy does with requests when the plugin has panicked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailurePolicy {
    /// Answers 503 until the plugin is replaced.
    FailClosed,
    /// Passes them by the plugin.
    FailOpen,
    /// Starts the plugin again.
    FailReload,
}

impl FailurePolicy {
    const fn name(self) -> &'static str {
        match self {
            Self::FailClosed => "FAIL_CLOSED",
            Self::FailOpen => "FAIL_OPEN",
            Self::FailReload => "FAIL_RELOAD",
        }
    }
}
