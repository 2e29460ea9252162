//! The filter of this project, or another proxy-wasm one, as an HTTP filter of Envoy.

use std::{fmt, path::Path};

use serde_json::{Value, json};

use super::{native, workspace};

/// A proxy-wasm HTTP filter with its configuration: by default ours, with `FAIL_RELOAD`.
#[derive(Clone, Debug)]
pub struct WasmPlugin(pub(super) Value);

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
        let mut config = json!({
            "name": "oauth2",
            "root_id": "oauth2",
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": "oauth2",
                "runtime": "envoy.wasm.runtime.v8",
                "environment_variables": {"key_values": {}},
            },
        });
        if !configuration.is_null() {
            config["configuration"] = configuration;
        }
        Self(config)
    }

    fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.0.pointer_mut(pointer).expect("a member") = value.into();
        self
    }

    /// Sets the root id.
    #[must_use]
    pub fn root_id(self, root_id: &str) -> Self {
        self.with("/root_id", root_id).with("/name", root_id)
    }

    /// Sets the VM id: plugins of one VM id share VM and data.
    #[must_use]
    pub fn vm_id(self, vm_id: &str) -> Self {
        self.with("/vm_config/vm_id", vm_id)
    }

    /// Runs this file instead of our filter.
    #[must_use]
    pub fn file(mut self, file: impl AsRef<Path>) -> Self {
        self.0["vm_config"]["code"] = json!({"local": {"filename": file.as_ref()}});
        self
    }

    /// Adds an environment variable of the VM.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0["vm_config"]["environment_variables"]["key_values"][name] = value.into();
        self
    }

    /// The entry for a list of HTTP filters.
    pub fn filter(&self, name: &str) -> Value {
        json!({"name": name, "typed_config": self.typed_config()})
    }

    /// The same filter as a dynamic module, whichever host tests run. Panics if that has not been
    /// built.
    pub fn native_filter(&self, name: &str) -> Value {
        json!({"name": name, "typed_config": native::typed_config(&self.0)})
    }

    /// The configuration of the filter, as a discovered filter has it. Panics if our filter has
    /// not been built.
    pub fn typed_config(&self) -> Value {
        let mut plugin = self.clone();
        if plugin.0["vm_config"]["code"].is_null() {
            if native::is_chosen() {
                return native::typed_config(&plugin.0);
            }
            let file = workspace().join("target/oauth2_filter.wasm");
            assert!(file.is_file(), "no {}: run `make build`", file.display());
            plugin = plugin.file(file);
        }
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": plugin.0,
        })
    }
}
